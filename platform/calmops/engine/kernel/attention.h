// Attention of a step's rows over the blocked cache: keys and values lie packed like weights, so tiles multiply them.
//
// Of one KV head, a block of 16 tokens is a block of 16 outputs (keys: k runs over the head), or, for values, head / 16
// blocks whose k runs over the 16 tokens. Each query goes over its keys in order, whoever shares its tile.
#pragma once
#include <cmath>
#include <limits>
#include <vector>

#include "matmul.h"

namespace calmops {

constexpr int kBlockTokens = 16;

// One layer's keys and values on this rank.
template <class C>
class Cache {
 public:
  Cache(int blocks, int kv_heads, int head) : kv_heads_(kv_heads), per_head_(size_t(head) * kBlockTokens) {
    const size_t cells = size_t(blocks) * kv_heads * per_head_;
    keys_.reset(new (std::align_val_t(64)) C[cells]());
    values_.reset(new (std::align_val_t(64)) C[cells]());
  }
  C* keys(int block, int kv_head) const { return keys_.get() + (size_t(block) * kv_heads_ + kv_head) * per_head_; }
  C* values(int block, int kv_head) const { return values_.get() + (size_t(block) * kv_heads_ + kv_head) * per_head_; }

  void keep_key(int block, int kv_head, int token, const float* key, int head) {
    C* at = keys(block, kv_head);
    for (int k = 0; k < head; ++k) calmops::keep(at + place(at, token, k), key[k]);
  }
  // `last`: the sequence's next token isn't kept in the same step.
  void keep_value(int block, int kv_head, int token, const float* value, int head, bool last) {
    for (int d = 0; d < head; ++d) {
      C* at = values(block, kv_head) + d / kLanes * kLanes * kBlockTokens;
      calmops::keep(at + place(at, d % kLanes, token), value[d]);
      if (last && token % 2 == 0) calmops::keep(at + place(at, d % kLanes, token + 1), 0.0f);  // may hold an old infinity
    }
  }

 private:
  struct Free {
    void operator()(C* p) const { ::operator delete[](p, std::align_val_t(64)); }
  };
  int kv_heads_;
  size_t per_head_;
  std::unique_ptr<C[], Free> keys_, values_;
};

// Some queries of one sequence that read one KV head: query i is row first_row + i / per_kv, head i % per_kv of the group.
struct Item {
  int sequence, first_row, kv_head, first_query, queries;
};

struct Heads {
  int heads, kv_heads, size, window;  // window: keys a query sees, itself included; 0: all
  float scaling;
  int per_kv() const { return heads / kv_heads; }
};

// Cut a step's rows into items of at most a tile's rows.
inline void cut(const Heads& heads, const int* rows_to_sequence, int rows, std::vector<Item>& items) {
  items.clear();
  if (!heads.kv_heads) return;
  for (int start = 0; start < rows;) {
    int end = start;
    while (end < rows && rows_to_sequence[end] == rows_to_sequence[start]) ++end;
    const Panels tiles((end - start) * heads.per_kv());
    for (int kv_head = 0; kv_head < heads.kv_heads; ++kv_head)
      for (int t = 0; t < tiles.count; ++t)
        items.push_back({rows_to_sequence[start], start, kv_head, tiles.start(t), tiles.height(t)});
    start = end;
  }
}

// One thread's workspace.
template <class W>
struct Scratch {
  using C = typename Product<W>::Cached;
  std::vector<float> scores;                        // [queries][context]
  std::vector<typename Product<C>::Act> queries, weights;  // panels

  Scratch(int context, int head) : scores(size_t(kMostRows) * context), queries(size_t(kMostRows) * (head + 1)), weights(size_t(kMostRows) * (context + 1)) {}
};

// One item: from rotated queries [rows][stride] to the activations that the output projection multiplies.
template <class W>
class Attention {
 public:
  using C = typename Product<W>::Cached;
  using P = Product<C>;

  Attention(const Heads& heads, const Cache<C>& cache, const int* table, const int* positions) : heads_(heads), cache_(cache), table_(table), positions_(positions) {}

  template <int R>
  void run(const Item& item, const float* queries, int stride, Scratch<W>& scratch, Activations<W>& out, const Panels& panels) const {
    int row[R], column[R], first[R], last[R];
    int begin = std::numeric_limits<int>::max(), end = 0;  // blocks that some query sees
    for (int i = 0; i < R; ++i) {
      const int query = item.first_query + i;
      row[i] = item.first_row + query / heads_.per_kv();
      column[i] = (item.kv_head * heads_.per_kv() + query % heads_.per_kv()) * heads_.size;
      last[i] = positions_[row[i]];
      first[i] = heads_.window ? std::max(0, last[i] - heads_.window + 1) : 0;
      begin = std::min(begin, first[i] / kBlockTokens);
      end = std::max(end, last[i] / kBlockTokens + 1);
      for (int k = 0; k < heads_.size; k += kLanes) P::put(scratch.queries.data() + i, R, k, load(queries + size_t(row[i]) * stride + column[i] + k));
    }
    const int context = (end - begin) * kBlockTokens;
    float total[R];
    score<R>(item.kv_head, begin, end, first, last, scratch);
    for (int i = 0; i < R; ++i) total[i] = weigh(scratch.scores.data() + size_t(i) * context, context, first[i] - begin * kBlockTokens, last[i] - begin * kBlockTokens, scratch.weights.data() + i, R);
    for (int d = 0; d < heads_.size; d += kLanes) {
      F16 sums[R];
      for (int i = 0; i < R; ++i) sums[i] = splat(0.0f);
      for (int block = begin; block < end; ++block) {
        const C* const values[1] = {cache_.values(table_[block], item.kv_head) + d * kBlockTokens};
        tile<C, R, 1>(values, scratch.weights.data() + size_t(block - begin) * (kBlockTokens / 2) * P::kSteps * R, kBlockTokens / 2, sums);
      }
      for (int i = 0; i < R; ++i) out.put(panels, row[i], column[i] + d, sums[i] / splat(total[i]));
    }
  }

 private:
  // scores[i][token - begin * 16]: scaled products, minus infinity where query i doesn't look.
  template <int R>
  void score(int kv_head, int begin, int end, const int* first, const int* last, Scratch<W>& scratch) const {
    const int context = (end - begin) * kBlockTokens;
    for (int block = begin; block < end; ++block) {
      const C* const keys[1] = {cache_.keys(table_[block], kv_head)};
      F16 sums[R];
      for (int i = 0; i < R; ++i) sums[i] = splat(0.0f);
      tile<C, R, 1>(keys, scratch.queries.data(), heads_.size / 2, sums);
      for (int i = 0; i < R; ++i) {
        float* at = scratch.scores.data() + size_t(i) * context + (block - begin) * kBlockTokens;
        store(at, sums[i] * splat(heads_.scaling));
        for (int t = 0; t < kBlockTokens; ++t) {
          const int token = block * kBlockTokens + t;
          if (token < first[i] || token > last[i]) at[t] = -std::numeric_limits<float>::infinity();
        }
      }
    }
  }

  // Scores of one query to weights e^(score - largest), exactly 0 outside [first, last]; returns their sum.
  static float weigh(const float* scores, int context, int first, int last, typename P::Act* weights, int rows) {
    F16 most = load(scores);
    for (int t = kLanes; t < context; t += kLanes) most = max(most, load(scores + t));
    const F16 top = splat(largest(most));
    F16 sums = splat(0.0f);
    for (int t = 0; t < context; t += kLanes) {
      float x[kLanes];
      store(x, exp(load(scores + t) - top));
      for (int i = 0; i < kLanes; ++i)
        if (t + i < first || t + i > last) x[i] = 0.0f;
      sums = sums + load(x);
      P::put(weights, rows, t, load(x));
    }
    return sum(sums);
  }

  const Heads& heads_;
  const Cache<C>& cache_;
  const int* table_;
  const int* positions_;
};

}  // namespace calmops
