// Multiplies rows of activations by packed weights. One tile function does every product, attention's included.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>

#include "lanes.h"
#include "team.h"
#include "tiles.h"

namespace calmops {

constexpr int kUnit = 4;          // blocks that are finished together: 64 outputs
constexpr int kPanelsBeside = 8;  // panels that share a pass over the weights: their activations should fit L2
constexpr size_t kNear = 8192;    // bytes by which a single panel fetches its weights ahead

// Names weights to fetch into a cache meanwhile: from `from` on, as many pairs as the tile has blocks, every `every`
// pairs.
struct Ahead {
  const void* from = nullptr;
  int every = 0;
};

// Names a block whose k goes on in other blocks of a cache: piece i lies table[i] * stride after the block's beginning.
struct Pieces {
  const int* table = nullptr;
  size_t stride = 0;
  int count = 1;
};

// Computes sums[g * R + r] += panel's row r times block g, pairs in order. A row's bits don't depend on R or G.
template <class W, int R, int G>
NOINLINE void tile(const W* const (&blocks)[G], const typename Product<W>::Act* row, int pairs, F16* sums,
                   Ahead ahead = {}, Pieces pieces = {}) {
  using P = Product<W>;
  F16 held[G][R];
#pragma GCC unroll 4
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) held[g][r] = sums[g * R + r];
  const auto add_step = [&]<int step>(const W* const (&at)[G]) INLINE_LAMBDA {
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
      const typename P::Operand weights = P::template operand<step>(at[g]);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) P::add(held[g][r], weights, P::spread(row[step * R + r]));
    }
  };
  const W* next = static_cast<const W*>(ahead.from);
  for (int piece = 0, due = 1; piece < pieces.count; ++piece) {
    const W* at[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) at[g] = blocks[g] + (pieces.table ? pieces.table[piece] * pieces.stride : 0);
    for (int pair = 0; pair < pairs; ++pair, row += P::kSteps * R) {
      if (next && --due == 0) {
        for (int g = 0; g < G; ++g, next += 2 * kLanes) prefetch(next);
        due = ahead.every;
      }
      add_step.template operator()<0>(at);
      asm volatile("" ::: "memory");  // the compiler would mix the two steps, which takes more registers than there are
      if constexpr (P::kSteps == 2) add_step.template operator()<1>(at);
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) at[g] += 2 * kLanes;
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) sums[g * R + r] = held[g][r];
}

// Calls f.operator()<R>() for the R of 1..kMostRows that equals `rows`.
template <int R = kMostRows, class F>
INLINE void with_rows(int rows, F&& f) {
  if constexpr (R > 0) {
    if (rows == R)
      f.template operator()<R>();
    else
      with_rows<R - 1>(rows, f);
  }
}

// The number of rows that are multiplied side by side by weights of a type.
template <class W>
constexpr int kPanelRows = in_tiles<W> ? kTileRows : kMostRows;

// Cuts the rows of a step into panels of nearly equal height, none higher than `most`.
struct Panels {
  int rows = 0, count = 0;

  Panels(int all, int most) : rows(all), count((all + most - 1) / most) {}
  int start(int panel) const { return rows * panel / count; }
  int height(int panel) const { return start(panel + 1) - start(panel); }
  int panel_of(int row) const { return ((row + 1) * count - 1) / rows; }
};

// Holds the activations of one step, ready to be multiplied: panel by panel [k][height], or, for tiles, [tile of k]
// [height][32].
template <class W>
class Activations {
 public:
  using P = Product<W>;
  using Act = std::conditional_t<in_tiles<W>, uint16_t, typename P::Act>;

  Activations(int most_rows, int k)
      : k_(k),
        per_row_(in_tiles<W> ? size_t(k + kTileK - 1) / kTileK * kTileK : size_t(k + 1) / 2 * P::kSteps),
        data_(new (std::align_val_t(64)) Act[per_row_ * most_rows]()) {}
  ~Activations() { ::operator delete[](data_, std::align_val_t(64)); }
  Activations(const Activations&) = delete;

  const Act* panel(const Panels& panels, int panel) const { return data_ + per_row_ * panels.start(panel); }
  // Puts sixteen values of a row, from k on.
  INLINE void put(const Panels& panels, int row, int k, F16 values) {
    const int panel = panels.panel_of(row), start = panels.start(panel), height = panels.height(panel);
    Act* const at = data_ + per_row_ * start;
    if constexpr (in_tiles<W>) {
      Act* const lanes = at + size_t(k / kTileK) * kTileK * height + (row - start) * kTileK + k % kTileK;
      keep_lanes(lanes, values);
      if (k + kLanes >= k_ && k % kTileK == 0) keep_lanes(lanes + kLanes, splat(0.0f));  // the rest of the last tile
    } else {
      P::put(at + (row - start), height, k, values);
    }
  }

 private:
  static constexpr int kTileK = 2 * kTilePairs;
  int k_;
  size_t per_row_;
  Act* data_;
};

// Points to packed weights: [units][kUnit blocks][pairs][32]; outputs beyond the last are zeros.
template <class W>
struct Matrix {
  const W* data = nullptr;
  const float* scale = nullptr;  // [outputs], for int8
  const float* bias = nullptr;   // [outputs]
  int units = 0, pairs = 0;
};

// Multiplies panels [from, to) by one unit. Each block, or few side by side, is multiplied by every panel before the
// next blocks are. Those come from memory into L2 meanwhile, each panel fetching its part, so that reading and
// computing overlap.
template <class W>
INLINE void multiply_unit(const W* unit, size_t per_block, int pairs, const Activations<W>& in, const Panels& panels,
                          int from, int to, F16* sums) {
  const bool alone = panels.count == 1;
  const int beside = alone ? kUnit : blocks_beside(panels.height(0));  // the first is as low as any
  for (int first = 0; first < kUnit; first += beside)
    for (int panel = from; panel < to; ++panel)
      with_rows(panels.height(panel), [&]<int R>() {
        constexpr int G = blocks_beside(R);
        F16* const at = sums + size_t(panels.start(panel) - panels.start(from)) * kUnit;
        for (int b = first; b < first + beside; b += G) {
          const W* blocks[G];
          for (int g = 0; g < G; ++g) blocks[g] = unit + per_block * (b + g);
          Ahead ahead;
          if (!alone)
            ahead = {unit + per_block * (first + beside) +
                         size_t(pairs) * ((panel - from) * beside + b - first) / (to - from) * 2 * kLanes,
                     to - from};
          else if (G == 2)
            ahead = {blocks[0] + per_block * G, 1};  // the two blocks after these; a processor's own guess is late here
          else if (G == 1)
            ahead = {blocks[0] + kNear / sizeof(W), 1};
          tile<W, R, G>(blocks, in.panel(panels, panel), pairs, at + b * R, ahead);
        }
      });
}

// Does the same in tile registers: each of several panels fetches its part of the next unit meanwhile.
template <class W, class Registers>
INLINE void multiply_unit(const W* unit, size_t per_block, int pairs, const Activations<W>& in, const Panels& panels,
                          int from, int to, F16* sums, Registers& tiles) {
  const int lines = panels.count == 1 ? 0 : int(kUnit * kTilePairs * 2 * kLanes * sizeof(W) / 64) / (to - from);
  for (int panel = from; panel < to; ++panel) {
    const W* ahead = unit + per_block * kUnit + per_block * kUnit * size_t(panel - from) / size_t(to - from);
    tiles.multiply(unit, per_block, pairs, in.panel(panels, panel), panels.height(panel),
                   sums + size_t(panels.start(panel) - panels.start(from)) * kUnit, ahead, lines);
  }
}

// Multiplies rows by a matrix on all threads. finish(row, unit, sums): sums[0..3] are the row's blocks of the unit.
template <class W, class Finish>
INLINE void multiply(const Matrix<W>& m, const Activations<W>& in, const Panels& panels, Turns& turns, int threads,
                     Finish&& finish) {
  const size_t per_block = size_t(m.pairs) * 2 * kLanes;
  const int passes = (panels.count + kPanelsBeside - 1) / kPanelsBeside;
  F16 sums[kUnit * kPanelRows<W> * kPanelsBeside];
  Tiles tiles;
  for (int first, last; turns.take(m.units, threads, first, last);)
    for (int pass = 0; pass < passes; ++pass) {
      const int from = panels.count * pass / passes, to = panels.count * (pass + 1) / passes;
      for (int unit = first; unit < last; ++unit) {
        std::fill_n(sums, size_t(panels.start(to) - panels.start(from)) * kUnit, splat(0.0f));
        const W* at = m.data + per_block * kUnit * unit;
        if constexpr (in_tiles<W>)
          multiply_unit(at, per_block, m.pairs, in, panels, from, to, sums, tiles);
        else
          multiply_unit(at, per_block, m.pairs, in, panels, from, to, sums);
        for (int panel = from; panel < to; ++panel) {
          const int height = panels.height(panel);
          const F16* panel_sums = sums + size_t(panels.start(panel) - panels.start(from)) * kUnit;
          for (int r = 0; r < height; ++r) {
            F16 row[kUnit];
            for (int b = 0; b < kUnit; ++b) {
              const int output = (unit * kUnit + b) * kLanes;
              row[b] = panel_sums[b * height + r];
              if (m.scale) row[b] = row[b] * load(m.scale + output);
              if (m.bias) row[b] = row[b] + load(m.bias + output);
            }
            finish(panels.start(panel) + r, unit, row);
          }
        }
      }
    }
}

}  // namespace calmops
