// Sums over the ranks of a gang through shared memory, and gives its core away after a bounded spin.
//
// Ranks are added in their order, so every rank gets the same bits. Two sets of buffers are used in turns: a rank that
// has seen every rank's n-th part knows that every rank has read its (n - 1)-th, so one wait per sum is enough. A rank
// whose peer died waits asleep; the reaper ends the gang.
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "team.h"

namespace calmops {

constexpr int64_t kPart = 1 << 16;  // floats that are summed at a time

struct alignas(64) Turn {
  std::atomic<uint32_t> parts{0}, sleepers{0};
};

class Reduction {
 public:
  Reduction(void* memory, size_t bytes, int rank, int ranks)
      : memory_(memory),
        bytes_(bytes),
        turns_(static_cast<Turn*>(memory)),
        buffers_(reinterpret_cast<float*>(turns_ + ranks)),
        rank_(rank),
        ranks_(ranks) {}
  ~Reduction() { munmap(memory_, bytes_); }
  Reduction(const Reduction&) = delete;

  static size_t bytes(int ranks) { return size_t(ranks) * (sizeof(Turn) + 2 * kPart * sizeof(float)); }

  void sum(float* data, int64_t count) {
    for (int64_t done = 0; done < count; done += kPart) sum_part(data + done, std::min(kPart, count - done));
  }

 private:
  float* buffer(int rank) const { return buffers_ + (int64_t(part_ % 2) * ranks_ + rank) * kPart; }

  void sum_part(float* data, int64_t count) {
    ++part_;
    std::memcpy(buffer(rank_), data, size_t(count) * sizeof(float));
    Turn& mine = turns_[rank_];
    mine.parts.store(part_);
    if (mine.sleepers.load()) futex(mine.parts, FUTEX_WAKE, INT32_MAX);
    for (int rank = 0; rank < ranks_; ++rank) await(turns_[rank]);
    const float *first = buffer(0), *second = buffer(1);
    for (int64_t i = 0; i < count; ++i) data[i] = first[i] + second[i];
    for (int rank = 2; rank < ranks_; ++rank)
      for (int64_t i = 0; i < count; ++i) data[i] += buffer(rank)[i];
  }

  void await(Turn& turn) const {
    for (int i = 0; i < kSpins; ++i) {
      if (int32_t(turn.parts.load(std::memory_order_acquire) - part_) >= 0) return;
      _mm_pause();
    }
    ++turn.sleepers;
    for (uint32_t seen; int32_t((seen = turn.parts.load()) - part_) < 0;) futex(turn.parts, FUTEX_WAIT, int(seen));
    --turn.sleepers;
  }

  static void futex(std::atomic<uint32_t>& word, int what, int value) {
    syscall(SYS_futex, &word, what, value, nullptr, nullptr, 0);
  }

  void* const memory_;
  const size_t bytes_;
  Turn* const turns_;
  float* const buffers_;
  const int rank_, ranks_;
  uint32_t part_ = 0;
};

extern "C" {

// Joins through the file `path`, which the first rank makes, of zeros; returns null if it can't be mapped. ranks >= 2.
Reduction* calmops_reduction_open(const char* path, int rank, int ranks) noexcept {
  const size_t bytes = Reduction::bytes(ranks);
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return nullptr;
  const bool sized = ftruncate(file, off_t(bytes)) == 0;
  void* memory = sized ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  close(file);
  return memory == MAP_FAILED ? nullptr : new Reduction(memory, bytes, rank, ranks);
}

void calmops_reduction_sum(float* data, int64_t count, void* reduction) noexcept {
  static_cast<Reduction*>(reduction)->sum(data, count);
}

void calmops_reduction_close(Reduction* reduction) noexcept { delete reduction; }
}

}  // namespace calmops
