// Draws tokens from logits for a whole step, by the rules of engine/sampler_specification.py; change that first.
//
// Every row is drawn alone and in a fixed order, so a token doesn't depend on the batch. The noise is a pure function
// of (seed, choice, position, vocabulary id): noise.py's, up to the last places of a logarithm.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"

namespace calmops {

extern "C" {
// Says how one sequence draws; ids beyond the vocabulary are ignored. kernel/structures.py has the same order.
struct Draw {
  uint64_t seed, choice;
  float temperature, top_p, min_p, repetition, presence, frequency;
  int32_t top_k, alternatives;  // alternatives: -1 for no log-probabilities
  const int32_t *prompt, *answer, *bias_ids;
  const float* bias_values;
  int32_t prompt_count, answer_count, bias_count;
};

struct Drawn {
  int32_t token;
  float logprob;
};
}

// Computes murmur3's fmix32.
inline uint32_t finalise(uint32_t x) {
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x = (x ^ x >> 13) * 0xC2B2AE35u;
  return x ^ x >> 16;
}

// Mixes the coordinates of a draw as splitmix64 does.
inline uint64_t noise_key(uint64_t seed, uint64_t choice, uint64_t position) {
  uint64_t key = 0;
  for (const uint64_t part : {seed, choice, position}) {
    key = (key ^ part) + 0x9E3779B97F4A7C15u;
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9u;
    key = (key ^ key >> 27) * 0x94D049BB133111EBu;
    key ^= key >> 31;
  }
  return key;
}

// Computes standard Gumbel noise of sixteen ids from 31 bits each, small values exactly: the largest noise, which
// decides, comes from the smallest uniform.
INLINE F16 gumbel(uint64_t key, uint32_t first_id) {
  float uniform[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t mixed = finalise((first_id + uint32_t(i)) * 0x9E3779B1u + uint32_t(key));
    const uint32_t bits = finalise(mixed ^ uint32_t(key >> 32)) & 0x7FFFFFFFu;
    uniform[i] = std::min((float(int32_t(bits)) + 0.5f) * 0x1p-31f, 1.0f - 0x1p-24f);
  }
  const F16 u = load(uniform), rest = splat(1.0f) - u, ratio = log(rest) / (rest - splat(1.0f));
  float r[kLanes], w[kLanes];
  store(r, ratio), store(w, rest);
  for (int i = 0; i < kLanes; ++i) r[i] = w[i] == 1.0f ? 1.0f : r[i];  // log1p(-u) is -u where 1 - u rounds to 1
  return splat(0.0f) - log(u * load(r));
}

// Draws in one thread, with a workspace for a vocabulary of `size` ids.
class Sampler {
 public:
  explicit Sampler(int size) : size_(size), row_(size + 2 * kLanes), sorted_(size), counts_(size) {}

  int size() const { return size_; }

  Drawn draw(const float* logits, const Draw& d, int position, int32_t* top_ids, float* top_logprobs) {
    const float* row = plain(d) ? logits : adjusted(logits, d);
    const int token = d.temperature > 0 ? warm(row, d, noise_key(d.seed, d.choice, uint64_t(position))) : best(row);
    if (d.alternatives < 0) return {token, 0.0f};
    const float total = log_of_sum(logits);
    alternatives(logits, total, d.alternatives, top_ids, top_logprobs);
    return {token, logits[token] - total};
  }

 private:
  static bool plain(const Draw& d) {
    return d.repetition == 1.0f && d.presence == 0.0f && d.frequency == 0.0f && !d.bias_count;
  }
  bool known(int id) const { return 0 <= id && id < size_; }

  const float* adjusted(const float* logits, const Draw& d) {
    std::copy(logits, logits + size_, row_.begin());
    if (d.repetition != 1.0f) {
      each_once(d.prompt, d.prompt_count, [&](int id) { repeat(id, d.repetition); }, false);
      each_once(d.answer, d.answer_count, [&](int id) { repeat(id, d.repetition); }, true);
      for (int i = 0; i < d.prompt_count; ++i) forget(d.prompt[i]);
    }
    if (d.presence != 0.0f || d.frequency != 0.0f) {
      for (int i = 0; i < d.answer_count; ++i)
        if (known(d.answer[i])) ++counts_[d.answer[i]];
      for (int i = 0; i < d.answer_count; ++i) {
        const int id = d.answer[i];
        if (!known(id) || !counts_[id]) continue;
        row_[id] -= d.presence + d.frequency * float(counts_[id]);
        counts_[id] = 0;
      }
    }
    for (int i = 0; i < d.bias_count; ++i)
      if (known(d.bias_ids[i])) row_[d.bias_ids[i]] += d.bias_values[i];
    return row_.data();
  }

  void repeat(int id, float penalty) { row_[id] = row_[id] > 0 ? row_[id] / penalty : row_[id] * penalty; }
  void forget(int id) {
    if (known(id)) counts_[id] = 0;
  }
  template <class F>
  void each_once(const int32_t* ids, int count, F&& f, bool clear) {
    for (int i = 0; i < count; ++i)
      if (known(ids[i]) && !counts_[ids[i]]++) f(ids[i]);
    for (int i = 0; clear && i < count; ++i) forget(ids[i]);
  }

  // Loads sixteen entries from `at` on, minus infinity beyond the vocabulary.
  INLINE F16 block(const float* row, int at) const {
    if (at + kLanes <= size_) return load(row + at);
    float x[kLanes];
    for (int i = 0; i < kLanes; ++i) x[i] = at + i < size_ ? row[at + i] : -std::numeric_limits<float>::infinity();
    return load(x);
  }

  float highest(const float* row) const {
    F16 most = splat(-std::numeric_limits<float>::infinity());
    for (int at = 0; at < size_; at += kLanes) most = max(most, block(row, at));
    return largest(most);
  }

  int best(const float* row) const {
    const int id = int(std::find(row, row + size_, highest(row)) - row);
    return id < size_ ? id : 0;  // there is none if all of them are not a number
  }

  float sum_of_powers(const float* row, float most) const {
    F16 total = splat(0.0f);
    for (int at = 0; at < size_; at += kLanes) {
      const F16 x = max(block(row, at) - splat(most), splat(-87.0f));
      total = total + exp(x);
    }
    return sum(total);
  }

  int warm(const float* row, const Draw& d, uint64_t key) {
    float* scaled = row_.data();
    for (int at = 0; at < size_; at += kLanes) store(scaled + at, block(row, at) / splat(d.temperature));
    const float most = highest(scaled), floor = lowest_kept(scaled, most, d);
    int chosen = best(scaled);
    float winner = -std::numeric_limits<float>::infinity();
    for (int at = 0; at < size_; at += kLanes) {
      const F16 here = load(scaled + at);
      // Noise never exceeds 22.2, since its smallest uniform is 2^-32: scores further below the best can't win.
      const float top = largest(here);
      if (top < floor || top + 22.5f < winner) continue;
      float value[kLanes];
      store(value, here + gumbel(key, uint32_t(at)));
      for (int i = 0; i < kLanes; ++i)
        if (scaled[at + i] >= floor && value[i] > winner) winner = value[i], chosen = at + i;
    }
    return chosen;
  }

  // Finds the smallest logit that top-k, top-p and min-p leave in, in this order; ties at an edge stay in.
  float lowest_kept(const float* scaled, float most, const Draw& d) {
    float floor = -std::numeric_limits<float>::infinity();
    if (0 < d.top_k && d.top_k < size_) {
      std::copy(scaled, scaled + size_, sorted_.begin());
      std::nth_element(sorted_.begin(), sorted_.begin() + d.top_k - 1, sorted_.end(), std::greater<>());
      floor = sorted_[d.top_k - 1];
    }
    if (d.top_p < 1.0f) floor = std::max(floor, nucleus_floor(scaled, most, floor, d.top_p));
    if (d.min_p > 0.0f) floor = std::max(floor, most + std::log(d.min_p));
    return floor;
  }

  // Finds the smallest logit of the smallest set of best tokens whose probability reaches top_p; at least one.
  float nucleus_floor(const float* scaled, float most, float floor, float top_p) {
    int kept = 0;
    for (int id = 0; id < size_; ++id)
      if (scaled[id] >= floor) sorted_[kept++] = scaled[id];
    double total = 0, reached = 0;
    for (int i = 0; i < kept; ++i) total += std::exp(sorted_[i] - most);
    for (int done = 0, size = std::min(256, kept); done < kept; done = size, size = kept) {
      std::partial_sort(sorted_.begin() + done, sorted_.begin() + size, sorted_.begin() + kept, std::greater<>());
      for (int i = done; i < size; ++i)
        if ((reached += std::exp(sorted_[i] - most)) >= top_p * total) return sorted_[i];
    }
    return kept ? sorted_[kept - 1] : most;
  }

  float log_of_sum(const float* logits) const {
    const float most = highest(logits);
    return most + std::log(sum_of_powers(logits, most));
  }

  void alternatives(const float* logits, float total, int count, int32_t* ids, float* logprobs) const {
    int kept = 0;
    for (int id = 0; id < size_ && count > 0; ++id) {
      if (kept == count && logits[id] <= logits[ids[kept - 1]]) continue;
      int at = kept < count ? kept++ : count - 1;
      for (; at > 0 && logits[id] > logits[ids[at - 1]]; --at) ids[at] = ids[at - 1];
      ids[at] = id;
    }
    for (int i = 0; i < kept; ++i) logprobs[i] = logits[ids[i]] - total;
  }

  int size_;
  std::vector<float> row_, sorted_;
  std::vector<int32_t> counts_;
};

}  // namespace calmops
