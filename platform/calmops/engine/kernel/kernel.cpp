// Runs one step of a dense Llama-shaped model on CPU cores: token rows of any sequences in, logits out.
//
// Everything is computed row by row in a fixed order (lanes.h, matmul.h, attention.h), so a row's bits depend neither
// on the other rows nor on the number of threads. The residual stream stays float32. build.py compiles this file, and
// __init__.py calls it.
#include <cmath>
#include <exception>

#include "attention.h"
#include "sampler.h"
#include "team.h"

namespace calmops {

extern "C" {

typedef void (*Reduce)(float* data, int64_t count, void* context);  // sums over the gang's ranks, in place

// Points to packed weights; scales only for int8; biases and head norms may be null.
struct LayerWeights {
  const void *qkv, *out, *gate_up, *down;
  const float *qkv_scale, *out_scale, *gate_up_scale, *down_scale;
  const float *qkv_bias, *out_bias;
  const float *norm, *ffn_norm;        // [hidden]
  const float *query_norm, *key_norm;  // [head_size]
  int32_t window;
};

struct Shape {
  int32_t layers, hidden, heads, kv_heads, head_size, ffn;  // heads, ffn: this rank's share; ffn a multiple of 32
  int32_t head_first, head_width, sum_logits;  // the slice of hidden that this rank's share of the LM head reads
  int32_t vocabulary;                          // a multiple of 64
  int32_t blocks, max_rows, max_context, threads;
  float epsilon, scaling;
  const int32_t* cores;  // [threads], or null
  const LayerWeights* weights;
  const void *embedding, *lm_head;  // [tokens][hidden] as it came; packed
  const float *lm_head_scale, *last_norm;
  const float *cosines, *sines;  // [max_context][head_size / 2]
  Reduce reduce;                 // null for a gang of one
  void* context;
};

struct Step {
  int32_t rows, table_width, wanted_count;
  const int32_t *tokens, *positions, *rows_to_sequence;  // [rows]
  const int32_t *tables;                                 // [sequences][table_width]
  const int32_t *wanted;                                 // [wanted_count]
  float* logits;                                         // [wanted_count][vocabulary]
};

// Points to the draws of one step's logits, or of any others as wide.
struct Draws {
  int32_t count, tokens_known, most_alternatives;  // tokens_known: ids that may be drawn
  const float* logits;                             // [count][vocabulary]
  const Draw* const* draws;                        // [count]
  const int32_t* positions;                        // [count], in the answer
  Drawn* drawn;                                    // [count]
  int32_t* top_ids;                                // [count][most_alternatives]
  float* top_logprobs;                             // [count][most_alternatives]
};
}

class Model {
 public:
  virtual ~Model() = default;
  virtual void step(const Step& step) = 0;
  virtual void draw(const Draws& draws) = 0;
};

template <class W>
class ModelOf final : public Model {
  using C = typename Product<W>::Cached;

 public:
  explicit ModelOf(const Shape& s)
      : s_(s),
        layers_(s.weights, s.weights + s.layers),
        team_(s.threads, s.cores),
        qkv_width_(padded((s.heads + 2 * s.kv_heads) * s.head_size)),
        width_(padded(s.hidden)),
        residual_(size_t(s.max_rows) * s.hidden),
        partial_(size_t(s.max_rows) * width_),
        qkv_(size_t(s.max_rows) * qkv_width_),
        normed_(s.max_rows, s.hidden),
        attended_(s.max_rows, s.heads * s.head_size),
        gated_(s.max_rows, s.ffn),
        last_(s.max_rows, s.head_width) {
    for (int layer = 0; layer < s.layers; ++layer) caches_.emplace_back(s.blocks, s.kv_heads, s.head_size);
    for (int thread = 0; thread < s.threads; ++thread) scratch_.emplace_back(s.max_context + kBlockTokens, s.head_size);
  }

  void step(const Step& step) override {
    cut({s_.heads, s_.kv_heads, s_.head_size, 0, 0}, step.rows_to_sequence, step.rows, items_);
    turns_[0].begin();
    team_.run([&](int thread) { work(step, thread); });
  }

  void draw(const Draws& d) override {
    if (samplers_.empty() || samplers_[0].size() != d.tokens_known)
      samplers_.assign(team_.size(), Sampler(d.tokens_known));
    team_.run([&](int thread) {
      share(d.count, thread, [&](int i) {
        const size_t at = size_t(i) * d.most_alternatives;
        d.drawn[i] = samplers_[thread].draw(d.logits + size_t(i) * s_.vocabulary, *d.draws[i], d.positions[i],
                                            d.top_ids + at, d.top_logprobs + at);
      });
    });
  }

 private:
  static int padded(int outputs) { return (outputs + kUnit * kLanes - 1) / (kUnit * kLanes) * kUnit * kLanes; }

  Matrix<W> matrix(const void* data, const float* scale, const float* bias, int outputs, int k) const {
    return {static_cast<const W*>(data), scale, bias, padded(outputs) / (kUnit * kLanes), (k + 1) / 2};
  }

  void work(const Step& step, int thread) {
    const Panels panels(step.rows, kPanelRows<W>);
    // Two are used in turn: while one is in use, the other is begun. A barrier lies between any two uses.
    auto turns = [&, used = 0]() mutable -> Turns& {
      if (thread == 0) turns_[(used + 1) % 2].begin();
      return turns_[used++ % 2];
    };
    share(step.rows, thread, [&](int row) { embed(step.tokens[row], residual(row)); });
    for (int layer = 0; layer < s_.layers; ++layer) {
      const LayerWeights& w = layers_[layer];
      share(step.rows, thread, [&](int row) { normalize(row, layer > 0, w.norm, panels); });
      team_.barrier();
      project(matrix(w.qkv, w.qkv_scale, w.qkv_bias, (s_.heads + 2 * s_.kv_heads) * s_.head_size, s_.hidden), normed_,
              panels, turns(), qkv_.data(), qkv_width_);
      team_.barrier();
      share(step.rows, thread, [&](int row) { rotate_and_keep(step, row, w, caches_[layer]); });
      team_.barrier();
      attend(step, w, caches_[layer], panels, turns(), scratch_[thread]);
      team_.barrier();
      project(matrix(w.out, w.out_scale, w.out_bias, s_.hidden, s_.heads * s_.head_size), attended_, panels, turns(),
              partial_.data(), width_);
      sum_over_ranks(partial_.data(), int64_t(step.rows) * width_, thread);
      share(step.rows, thread, [&](int row) { normalize(row, true, w.ffn_norm, panels); });
      team_.barrier();
      gate(matrix(w.gate_up, w.gate_up_scale, nullptr, 2 * s_.ffn, s_.hidden), panels, turns());
      team_.barrier();
      project(matrix(w.down, w.down_scale, nullptr, s_.hidden, s_.ffn), gated_, panels, turns(), partial_.data(),
              width_);
      sum_over_ranks(partial_.data(), int64_t(step.rows) * width_, thread);
    }
    const Panels wanted(std::max(step.wanted_count, 1), kPanelRows<W>);
    share(step.wanted_count, thread, [&](int i) { normalize_last(step.wanted[i], i, wanted); });
    team_.barrier();
    if (step.wanted_count) {
      project(matrix(s_.lm_head, s_.lm_head_scale, nullptr, s_.vocabulary, s_.head_width), last_, wanted, turns(),
              step.logits, s_.vocabulary);
      sum_over_ranks(step.logits, int64_t(step.wanted_count) * s_.vocabulary, thread, s_.sum_logits);
    }
  }

  template <class F>
  void share(int count, int thread, F&& each) {
    for (int i = count * thread / team_.size(); i < count * (thread + 1) / team_.size(); ++i) each(i);
  }

  float* residual(int row) { return residual_.data() + size_t(row) * s_.hidden; }

  void embed(int token, float* out) const {
    const C* from = static_cast<const C*>(s_.embedding) + size_t(token) * s_.hidden;
    for (int k = 0; k < s_.hidden; k += kLanes) store(out + k, row_of(from + k));
  }

  // Adds what the last projection left to the residual, if `add`; returns 1 / the residual's root mean square.
  float take(int row, bool add) {
    float* x = residual(row);
    const float* more = partial_.data() + size_t(row) * width_;
    F16 squares = splat(0.0f);
    for (int k = 0; k < s_.hidden; k += kLanes) {
      if (add) store(x + k, load(x + k) + load(more + k));
      squares = fma(load(x + k), load(x + k), squares);
    }
    return 1.0f / std::sqrt(sum(squares) / float(s_.hidden) + s_.epsilon);
  }

  void normalize(int row, bool add, const float* weight, const Panels& panels) {
    const F16 scale = splat(take(row, add));
    for (int k = 0; k < s_.hidden; k += kLanes)
      normed_.put(panels, row, k, load(residual(row) + k) * scale * load(weight + k));
  }

  void normalize_last(int row, int i, const Panels& wanted) {
    const F16 scale = splat(take(row, true));
    for (int k = 0; k < s_.head_width; k += kLanes) {
      const int at = s_.head_first + k;
      last_.put(wanted, i, k, load(residual(row) + at) * scale * load(s_.last_norm + at));
    }
  }

  void project(const Matrix<W>& m, const Activations<W>& in, const Panels& panels, Turns& turns, float* out,
               int width) {
    multiply(m, in, panels, turns, team_.size(), [&](int row, int unit, const F16 (&sums)[kUnit]) {
      float* at = out + size_t(row) * width + unit * kUnit * kLanes;
      for (int b = 0; b < kUnit; ++b) store(at + b * kLanes, sums[b]);
    });
  }

  // Gate and up are interleaved block by block; silu(gate) * up goes straight to where `down` reads.
  void gate(const Matrix<W>& m, const Panels& panels, Turns& turns) {
    multiply(m, normed_, panels, turns, team_.size(), [&](int row, int unit, const F16 (&sums)[kUnit]) {
      for (int b = 0; b < kUnit; b += 2) {
        const F16 silu = sums[b] / (splat(1.0f) + exp(splat(0.0f) - sums[b]));
        gated_.put(panels, row, (unit * kUnit + b) / 2 * kLanes, silu * sums[b + 1]);
      }
    });
  }

  void rotate_and_keep(const Step& step, int row, const LayerWeights& w, Cache<C>& cache) {
    const int position = step.positions[row];
    const int block =
        step.tables[size_t(step.rows_to_sequence[row]) * step.table_width + position / kBlockTokens];
    float* at = qkv_.data() + size_t(row) * qkv_width_;
    for (int head = 0; head < s_.heads + s_.kv_heads; ++head)
      rotate(at + head * s_.head_size, head < s_.heads ? w.query_norm : w.key_norm, position);
    const bool last = row + 1 == step.rows || step.rows_to_sequence[row + 1] != step.rows_to_sequence[row];
    for (int head = 0; head < s_.kv_heads; ++head) {
      cache.keep_key(block, head, position % kBlockTokens, at + (s_.heads + head) * s_.head_size, s_.head_size);
      cache.keep_value(block, head, position % kBlockTokens, at + (s_.heads + s_.kv_heads + head) * s_.head_size,
                       s_.head_size, last);
    }
  }

  void rotate(float* head, const float* norm, int position) const {
    const int half = s_.head_size / 2;
    if (norm) {
      F16 squares = splat(0.0f);
      for (int k = 0; k < s_.head_size; k += kLanes) squares = fma(load(head + k), load(head + k), squares);
      const F16 scale = splat(1.0f / std::sqrt(sum(squares) / float(s_.head_size) + s_.epsilon));
      for (int k = 0; k < s_.head_size; k += kLanes) store(head + k, load(head + k) * scale * load(norm + k));
    }
    const float *cosine = s_.cosines + size_t(position) * half, *sine = s_.sines + size_t(position) * half;
    for (int k = 0; k < half; ++k) {
      const float a = head[k], b = head[k + half];
      head[k] = a * cosine[k] - b * sine[k];
      head[k + half] = b * cosine[k] + a * sine[k];
    }
  }

  void attend(const Step& step, const LayerWeights& w, const Cache<C>& cache, const Panels& panels, Turns& turns,
              Scratch<W>& scratch) {
    const Heads heads{s_.heads, s_.kv_heads, s_.head_size, w.window, s_.scaling};
    for (int first, last; turns.take(int(items_.size()), team_.size(), first, last);)
      for (int i = first; i < last; ++i) {
        const Item& item = items_[i];
        const Attention<W> attention(heads, cache, step.tables + size_t(item.sequence) * step.table_width,
                                     step.positions);
        with_rows(item.queries, [&]<int R>() {
          attention.template run<R>(item, qkv_.data(), qkv_width_, scratch, attended_, panels);
        });
      }
  }

  void sum_over_ranks(float* data, int64_t count, int thread, bool needed = true) {
    team_.barrier();
    if (!s_.reduce || !needed) return;
    if (thread == 0) s_.reduce(data, count, s_.context);
    team_.barrier();
  }

  const Shape s_;
  const std::vector<LayerWeights> layers_;
  Team team_;
  const int qkv_width_, width_;
  std::vector<float> residual_, partial_, qkv_;
  Activations<W> normed_, attended_, gated_, last_;
  std::vector<Cache<C>> caches_;
  std::vector<Scratch<W>> scratch_;
  std::vector<Sampler> samplers_;
  std::vector<Item> items_;
  Turns turns_[2];
};

extern "C" {

// Opens a model; weights: "bfloat16", "float32" or "int8". Returns null without memory for it.
Model* calmops_open(const Shape* shape, const char* weights) noexcept {
  try {
    if (weights[0] == 'b') return new ModelOf<uint16_t>(*shape);
    if (weights[0] == 'f') return new ModelOf<float>(*shape);
    return new ModelOf<int8_t>(*shape);
  } catch (const std::exception&) {
    return nullptr;
  }
}

void calmops_step(Model* model, const Step* step) noexcept { model->step(*step); }

void calmops_draw(Model* model, const Draws* draws) noexcept { model->draw(*draws); }

void calmops_close(Model* model) noexcept { delete model; }
}

}  // namespace calmops
