/** A number for each token after each sequence of tokens: equal numbers, equal keys and values. */
export class Contexts {
  readonly #numbers = new Map<string, number>();

  /** [tokens.length] */
  of(salt: number, tokens: readonly number[]): number[] {
    let before = `salt ${salt}`;
    return tokens.map((token) => {
      const name = `${before}, ${token}`;
      let number = this.#numbers.get(name);
      if (number === undefined) {
        number = this.#numbers.size + 1;
        this.#numbers.set(name, number);
      }
      before = String(number);
      return number;
    });
  }
}
