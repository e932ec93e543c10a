// Starts the threads that step together, once, each on a core of its own if so configured; they sleep between steps.
#pragma once
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "lanes.h"

namespace calmops {

constexpr int kSpins = 4000;  // about 50 us; then a waiting thread gives its core away

INLINE void wait_while(const std::atomic<uint32_t>& word, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    _mm_pause();
  }
  word.wait(old, std::memory_order_acquire);
}

// Hands out units of work to threads, many at a time first and one at a time last, so that all threads end together
// even if one core is slower or interrupted.
class Turns {
 public:
  void begin() { next_.store(0, std::memory_order_relaxed); }
  // Takes the next units, [from, to) of `all`; returns false if there are none left.
  bool take(int all, int threads, int& from, int& to) {
    from = next_.load(std::memory_order_relaxed);
    do {
      if (from >= all) return false;
      to = from + std::max(1, (all - from) / (2 * threads));
    } while (!next_.compare_exchange_weak(from, to, std::memory_order_relaxed));
    return true;
  }

 private:
  std::atomic<int> next_{0};
};

class Team {
 public:
  // `cores`: one per thread, the caller's (thread 0) first, or null to let the system choose.
  Team(int size, const int* cores) : size_(size) {
    for (int thread = 1; thread < size; ++thread)
      workers_.emplace_back([this, thread, core = cores ? cores[thread] : -1] { work(thread, core); });
  }
  ~Team() {
    job_ = nullptr;
    start();
    for (std::thread& worker : workers_) worker.join();
  }
  Team(const Team&) = delete;

  int size() const { return size_; }

  // Runs job(thread) on every thread; the caller is thread 0.
  void run(const std::function<void(int)>& job) {
    job_ = &job;
    start();
    job(0);
    barrier();  // no thread is inside the job any more
  }

  // Makes every thread of a job wait for the others.
  void barrier() {
    if (size_ == 1) return;
    const uint32_t now = passed_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
      arrived_.store(0, std::memory_order_relaxed);
      passed_.store(now + 1, std::memory_order_release);
      passed_.notify_all();
    } else {
      wait_while(passed_, now);
    }
  }

 private:
  void start() {
    if (size_ == 1) return;
    jobs_.fetch_add(1, std::memory_order_release);
    jobs_.notify_all();
  }

  void work(int thread, int core) {
    if (core >= 0) {
      cpu_set_t only;
      CPU_ZERO(&only);
      CPU_SET(core, &only);
      pthread_setaffinity_np(pthread_self(), sizeof only, &only);
    }
    for (uint32_t seen = 0;; ++seen) {
      wait_while(jobs_, seen);
      const std::function<void(int)>* job = job_;
      if (!job) return;
      (*job)(thread);
      barrier();
    }
  }

  const int size_;
  const std::function<void(int)>* job_ = nullptr;
  std::atomic<uint32_t> jobs_{0}, passed_{0};
  std::atomic<int> arrived_{0};
  std::vector<std::thread> workers_;
};

}  // namespace calmops
