// Computes attention of a step's rows over the blocked cache, whose keys and values are packed like weights.
//
// For one KV head, the keys of a block of 16 tokens are a block of 16 outputs, whose k runs over the head; the values
// are head / 16 blocks whose k runs over the 16 tokens. Each query goes over its keys in order, whatever shares its
// tile.
#pragma once
#include <cmath>
#include <limits>
#include <vector>

#include "matmul.h"

namespace calmops {

constexpr int kBlockTokens = 16;

// Holds one layer's keys and values on this rank.
template <class C>
class Cache {
 public:
  Cache(int blocks, int kv_heads, int head) : kv_heads_(kv_heads), per_head_(size_t(head) * kBlockTokens) {
    const size_t cells = size_t(blocks) * kv_heads * per_head_;
    keys_.reset(new (std::align_val_t(64)) C[cells]());
    values_.reset(new (std::align_val_t(64)) C[cells]());
  }
  C* keys(int block, int kv_head) const { return keys_.get() + (size_t(block) * kv_heads_ + kv_head) * per_head_; }
  size_t stride() const { return kv_heads_ * per_head_; }  // from one block to the next
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
      // The pair's other token may still hold an infinity of an earlier sequence.
      if (last && token % 2 == 0) calmops::keep(at + place(at, d % kLanes, token + 1), 0.0f);
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

// Names some queries of one sequence that read one KV head: query i is row first_row + i / per_kv, head i % per_kv of
// the group.
struct Item {
  int sequence, first_row, kv_head, first_query, queries;
};

struct Heads {
  int heads, kv_heads, size, window;  // window: keys a query sees, itself included; 0: all
  float scaling;
  int per_kv() const { return heads / kv_heads; }
};

// Cuts a step's rows into items of at most a tile's rows.
inline void cut(const Heads& heads, const int* rows_to_sequence, int rows, std::vector<Item>& items) {
  items.clear();
  if (!heads.kv_heads) return;
  for (int start = 0; start < rows;) {
    int end = start;
    while (end < rows && rows_to_sequence[end] == rows_to_sequence[start]) ++end;
    const Panels tiles((end - start) * heads.per_kv(), kMostRows);
    for (int kv_head = 0; kv_head < heads.kv_heads; ++kv_head)
      for (int t = 0; t < tiles.count; ++t)
        items.push_back({rows_to_sequence[start], start, kv_head, tiles.start(t), tiles.height(t)});
    start = end;
  }
}

// Holds one thread's workspace.
template <class W>
struct Scratch {
  using C = typename Product<W>::Cached;
  std::vector<float> scores;                        // [queries][context]
  std::vector<typename Product<C>::Act> queries, weights;  // panels

  Scratch(int context, int head)
      : scores(size_t(kMostRows) * context),
        queries(size_t(kMostRows) * (head + 1)),
        weights(size_t(kMostRows) * (context + 1)) {}
};

// Computes items: from rotated queries [rows][stride] to the activations that the output projection multiplies.
template <class W>
class Attention {
 public:
  using C = typename Product<W>::Cached;
  using P = Product<C>;

  Attention(const Heads& heads, const Cache<C>& cache, const int* table, const int* positions)
      : heads_(heads), cache_(cache), table_(table), positions_(positions) {}

  template <int R>
  void run(const Item& item, const float* queries, int stride, Scratch<W>& scratch, Activations<W>& out,
           const Panels& panels) const {
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
      for (int k = 0; k < heads_.size; k += kLanes)
        P::put(scratch.queries.data() + i, R, k, load(queries + size_t(row[i]) * stride + column[i] + k));
    }
    const int context = (end - begin) * kBlockTokens;
    float total[R];
    score<R>(item.kv_head, begin, end, first, last, scratch);
    for (int i = 0; i < R; ++i)
      total[i] = weigh(scratch.scores.data() + size_t(i) * context, context, first[i] - begin * kBlockTokens,
                       last[i] - begin * kBlockTokens, scratch.weights.data() + i, R);
    const Pieces pieces{table_ + begin, cache_.stride(), end - begin};
    const auto weighted = [&]<int G>(int d) {
      F16 sums[G * R];
      std::fill_n(sums, G * R, splat(0.0f));
      const C* values[G];
      for (int g = 0; g < G; ++g) values[g] = cache_.values(0, item.kv_head) + (d + g * kLanes) * kBlockTokens;
      tile<C, R, G>(values, scratch.weights.data(), kBlockTokens / 2, sums, {}, pieces);
      for (int g = 0; g < G; ++g)
        for (int i = 0; i < R; ++i)
          out.put(panels, row[i], column[i] + d + g * kLanes, sums[g * R + i] / splat(total[i]));
    };
    int d = 0;
    if constexpr (blocks_beside(R) > 1)
      for (; d + 2 * kLanes <= heads_.size; d += 2 * kLanes) weighted.template operator()<2>(d);
    for (; d < heads_.size; d += kLanes) weighted.template operator()<1>(d);
  }

 private:
  // Fills scores[i][token - begin * 16] with scaled products, minus infinity where query i doesn't look.
  template <int R>
  void score(int kv_head, int begin, int end, const int* first, const int* last, Scratch<W>& scratch) const {
    const int context = (end - begin) * kBlockTokens;
    constexpr int G = blocks_beside(R);
    for (int block = begin; block < end; block += G) {
      const C* keys[G];
      for (int g = 0; g < G; ++g) keys[g] = cache_.keys(table_[std::min(block + g, end - 1)], kv_head);
      F16 sums[G * R];
      std::fill_n(sums, G * R, splat(0.0f));
      // The blocks that come next lie anywhere in memory, so the processor can't guess them.
      for (int g = 0; g < G && block + g < end; ++g) {
        fetch(cache_.values(table_[block + g], kv_head));
        if (block + G + g < end) fetch(cache_.keys(table_[block + G + g], kv_head));
      }
      tile<C, R, G>(keys, scratch.queries.data(), heads_.size / 2, sums);
      for (int g = 0; g < G && block + g < end; ++g)
        for (int i = 0; i < R; ++i)
          keep_scores(sums[g * R + i], (block + g) * kBlockTokens, first[i], last[i],
                      scratch.scores.data() + size_t(i) * context + (block + g - begin) * kBlockTokens);
    }
  }

  void fetch(const C* block) const {
    for (int at = 0; at < heads_.size * kBlockTokens; at += 64 / int(sizeof(C))) prefetch(block + at);
  }

  void keep_scores(F16 products, int token, int first, int last, float* at) const {
    store(at, products * splat(heads_.scaling));
    for (int t = 0; !within(token, first, last) && t < kBlockTokens; ++t)
      if (token + t < first || token + t > last) at[t] = -std::numeric_limits<float>::infinity();
  }

  // Says whether all tokens of the block from `token` on lie in [first, last].
  static bool within(int token, int first, int last) { return first <= token && token + kBlockTokens - 1 <= last; }

  // Turns one query's scores into weights e^(score - largest), exactly 0 outside [first, last]; returns their sum.
  static float weigh(const float* scores, int context, int first, int last, typename P::Act* weights, int rows) {
    F16 most = load(scores);
    for (int t = kLanes; t < context; t += kLanes) most = max(most, load(scores + t));
    const F16 top = splat(largest(most));
    F16 sums = splat(0.0f);
    for (int t = 0; t < context; t += kLanes) {
      F16 here = exp(load(scores + t) - top);
      if (!within(t, first, last)) {
        float x[kLanes];
        store(x, here);
        for (int i = 0; i < kLanes; ++i)
          if (t + i < first || t + i > last) x[i] = 0.0f;
        here = load(x);
      }
      sums = sums + here;
      P::put(weights, rows, t, here);
    }
    return sum(sums);
  }

  const Heads& heads_;
  const Cache<C>& cache_;
  const int* table_;
  const int* positions_;
};

}  // namespace calmops
