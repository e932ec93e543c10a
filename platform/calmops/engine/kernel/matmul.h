// Rows of activations times packed weights. One tile function does every product here, attention's included.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>

#include "lanes.h"

namespace calmops {

constexpr int kUnit = 4;  // blocks that are computed together: 64 outputs

// Blocks side by side in a tile of `rows` rows: as many as the registers hold, so that few rows still overlap sums.
constexpr int blocks_beside(int rows) { return rows * 4 <= kRegisters ? 4 : rows * 2 <= kRegisters ? 2 : 1; }

// sums[g][r] += panel's row r times block g, pairs in order. A row's bits don't depend on R or G. `ahead`: how far on lie
// the weights that are wanted next, fetched from memory meanwhile; 0 for none.
template <class W, int R, int G>
INLINE void tile(const W* const (&blocks)[G], const typename Product<W>::Act* panel, int pairs, F16 (&sums)[G][R], size_t ahead = 0) {
  using P = Product<W>;
  const auto one = [&]<int step>(int pair) INLINE_LAMBDA {
    typename P::Operand weights[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) weights[g] = P::template operand<step>(blocks[g] + size_t(pair) * 2 * kLanes);
    const auto* row = panel + (size_t(pair) * P::kSteps + step) * R;
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const typename P::Operand a = P::spread(row[r]);
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) sums[g][r] = P::add(sums[g][r], weights[g], a);
    }
  };
  for (int pair = 0; pair < pairs; ++pair) {
    if (ahead)
      for (int g = 0; g < G; ++g) _mm_prefetch(reinterpret_cast<const char*>(blocks[g] + ahead + size_t(pair) * 2 * kLanes), _MM_HINT_T1);
    one.template operator()<0>(pair);
    if constexpr (P::kSteps == 2) one.template operator()<1>(pair);
  }
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

// The rows of a step cut into panels of nearly equal height, none higher than a tile.
struct Panels {
  int rows = 0, count = 0;

  explicit Panels(int all) : rows(all), count((all + kMostRows - 1) / kMostRows) {}
  int start(int panel) const { return rows * panel / count; }
  int height(int panel) const { return start(panel + 1) - start(panel); }
  int panel_of(int row) const { return ((row + 1) * count - 1) / rows; }
};

// Activations of one step, ready to be multiplied: panel by panel [k][height].
template <class W>
class Activations {
 public:
  using P = Product<W>;
  using Act = typename P::Act;

  Activations(int most_rows, int k) : per_row_(size_t(k + 1) / 2 * P::kSteps), data_(new (std::align_val_t(64)) Act[per_row_ * most_rows]()) {}
  ~Activations() { ::operator delete[](data_, std::align_val_t(64)); }
  Activations(const Activations&) = delete;

  const Act* panel(const Panels& panels, int panel) const { return data_ + per_row_ * panels.start(panel); }
  // Put sixteen values of a row, from k on.
  INLINE void put(const Panels& panels, int row, int k, F16 values) {
    const int panel = panels.panel_of(row), start = panels.start(panel);
    P::put(data_ + per_row_ * start + (row - start), panels.height(panel), k, values);
  }

 private:
  size_t per_row_;
  Act* data_;
};

// Packed weights: [units][kUnit blocks][pairs][32]; outputs beyond the last are zeros.
template <class W>
struct Matrix {
  const W* data = nullptr;
  const float* scale = nullptr;  // [outputs], for int8
  const float* bias = nullptr;   // [outputs]
  int units = 0, pairs = 0;

  int outputs() const { return units * kUnit * kLanes; }
};

// This thread's share of rows x matrix. finish(row, unit, sums): sums[0..3] are the unit's four blocks of that row.
template <class W, class Finish>
INLINE void multiply(const Matrix<W>& m, const Activations<W>& in, const Panels& panels, int thread, int threads, Finish&& finish) {
  const int last = m.units * (thread + 1) / threads;
  const size_t per_block = size_t(m.pairs) * 2 * kLanes;
  for (int unit = m.units * thread / threads; unit < last; ++unit) {
    const W* blocks = m.data + per_block * kUnit * unit;
    for (int panel = 0; panel < panels.count; ++panel) {
      const size_t ahead = panel > 0 && panel + 1 == panels.count && unit + 1 < last ? per_block * kUnit : 0;
      with_rows(panels.height(panel), [&]<int R>() {
        constexpr int G = blocks_beside(R);
        F16 found[kUnit][R];
        for (int b = 0; b < kUnit; b += G) {
          const W* beside[G];
          F16 sums[G][R];
          for (int g = 0; g < G; ++g) {
            beside[g] = blocks + per_block * (b + g);
            for (int r = 0; r < R; ++r) sums[g][r] = splat(0.0f);
          }
          tile<W, R, G>(beside, in.panel(panels, panel), m.pairs, sums, ahead);
          for (int g = 0; g < G; ++g)
            for (int r = 0; r < R; ++r) found[b + g][r] = sums[g][r];
        }
        for (int r = 0; r < R; ++r) {
          F16 row[kUnit];
          for (int b = 0; b < kUnit; ++b) {
            const int output = (unit * kUnit + b) * kLanes;
            row[b] = found[b][r];
            if (m.scale) row[b] = row[b] * load(m.scale + output);
            if (m.bias) row[b] = row[b] + load(m.bias + output);
          }
          finish(panels.start(panel) + r, unit, row);
        }
      });
    }
  }
}

}  // namespace calmops
