// tile_links: which tiles of keys an item visits, where masks of bits or blocks hide others as a whole (LINKED). The link of
// a tile is the first one from it on of which any row sees a key, twice its number, and 1 more if these masks let all rows
// see all of it. An item has a link for each of its tiles, and behind the last one comes its end. mask_tiles makes them.

import package::shared::attention::params;
import package::shared::band::Tiles;

@if(LINKED) @group(0) @binding(16) var<storage, read> tile_links: array<u32>;

// Where the links of an item and a kv head begin.
fn links_at(item: u32, kv_head: u32) -> u32 {
  return (item - params.links_first) * params.links_item + kv_head * params.links_head;
}

@if(LINKED) fn first_visited(links: u32, tiles: Tiles) -> u32 {
  if (tiles.first >= tiles.end) { return tiles.first; }
  return tile_links[links] / 2u;
}

// The tile to visit after another one; not below the end if there is none. Even and odd tiles follow each other, since what is
// kept of them is overwritten by the next but one: so a tile that is hidden may come between.
@if(LINKED) fn visited_after(links: u32, tiles: Tiles, tile: u32) -> u32 {
  var next = tile + 1u;
  if (next < tiles.end) { next = tile_links[links + next - tiles.first] / 2u; }
  if ((next - tile) % 2u == 0u) { next = select(next + 1u, next - 1u, next < tiles.end); }
  return next;
}

@if(LINKED) fn is_full(links: u32, tiles: Tiles, tile: u32) -> bool {
  return tile_links[links + tile - tiles.first] == tile * 2u + 1u;
}
