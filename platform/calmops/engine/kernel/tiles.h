// Multiplies in AMX's tile registers, if there are any: up to 16 rows times 16 outputs, 32 k at a time, in bf16.
//
// A tile of weights is 16 pairs of a block as it lies in memory (lanes.h). Within it the products of even and of odd k
// are summed separately, then added to the sum so far, separately for each row, so a row's bits depend on no other row
// here either. This is the second of two ways to multiply; attention takes the other one, matmul.h's tile().
#pragma once
#include <algorithm>
#include <type_traits>

#include "lanes.h"

namespace calmops {

#if CALMOPS_AMX

// int8 stays in lanes: widening it for a tile takes longer than the tile, and it is meant for few rows.
template <class W>
constexpr bool in_tiles = std::is_same_v<W, uint16_t>;
constexpr int kTileRows = 16, kTilePairs = 16, kTileCells = kTilePairs * 2 * kLanes;
constexpr size_t kNearTiles = 4096;  // bytes by which a single panel fetches its weights ahead

// Uses a thread's tile registers, which build.py asked Linux for, and releases them at the end. 0 to 3 hold the sums of
// four blocks, 4 holds activations, 5 and 6 hold weights.
class Tiles {
 public:
  Tiles() = default;
  Tiles(const Tiles&) = delete;
  ~Tiles() {
    if (rows_) _tile_release();
  }

  void shape(int rows) {
    if (rows == rows_) return;
    struct alignas(64) {
      uint8_t palette = 1, first_row = 0, none[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {};
    } shapes;
    std::fill_n(shapes.rows, 5, uint8_t(rows));
    shapes.rows[5] = shapes.rows[6] = kTilePairs;
    asm volatile("" ::"m"(shapes) : "memory");  // the intrinsic declares that it reads eight bytes only
    _tile_loadconfig(&shapes);
    rows_ = rows;
  }

  // Computes sums[b * height + r] = row r of a panel [tile of k][height][32] times block b. `ahead`: weights to fetch
  // into L2 meanwhile, `lines` cache lines with each tile of k. If `lines` is 0, each block's own weights are fetched,
  // a little further on.
  template <class W>
  NOINLINE void multiply(const W* unit, size_t per_block, int pairs, const uint16_t* panel, int height, F16* sums,
                         const W* ahead, int lines) {
    shape(height);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    alignas(64) uint16_t room[4][kTileCells];
    for (int pair = 0; pair < pairs; pair += kTilePairs, panel += height * 2 * kTilePairs) {
      const int here = std::min(kTilePairs, pairs - pair);
      const uint16_t* tiles[4];
      for (int b = 0; b < 4; ++b) tiles[b] = tile_of(unit + per_block * b + size_t(pair) * 2 * kLanes, here, room[b]);
      if (lines == 0)
        for (int b = 0; b < 4; ++b)
          fetch(unit + per_block * b + size_t(pair) * 2 * kLanes + kNearTiles / sizeof(W), kTileCells * sizeof(W) / 64);
      else
        fetch(ahead, lines), ahead += lines * 64 / sizeof(W);
      asm volatile("" ::: "memory");  // tile loads don't declare what they read
      _tile_loadd(4, panel, 64);
      _tile_loadd(5, tiles[0], 64);
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(6, tiles[1], 64);
      _tile_dpbf16ps(1, 4, 6);
      _tile_loadd(5, tiles[2], 64);
      _tile_dpbf16ps(2, 4, 5);
      _tile_loadd(6, tiles[3], 64);
      _tile_dpbf16ps(3, 4, 6);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + height, 64);
    _tile_stored(2, sums + 2 * height, 64);
    _tile_stored(3, sums + 3 * height, 64);
  }

 private:
  template <class W>
  static INLINE void fetch(const W* from, int lines) {
    for (int line = 0; line < lines; ++line) prefetch(from + line * 64 / sizeof(W));
  }

  // Finds sixteen pairs of a block as bf16: where they lie, or, if it has fewer, in `room` with zeros for the rest.
  static INLINE const uint16_t* tile_of(const uint16_t* at, int pairs, uint16_t* room) {
    if (pairs == kTilePairs) return at;
    std::memset(room, 0, kTileCells * sizeof(uint16_t));
    std::memcpy(room, at, size_t(pairs) * 2 * kLanes * sizeof(uint16_t));
    return room;
  }

  int rows_ = 0;
};

#else

template <class W>
constexpr bool in_tiles = false;
constexpr int kTileRows = kMostRows, kTilePairs = 1;
struct Tiles {};

#endif

}  // namespace calmops
