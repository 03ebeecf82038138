#include "http/worker_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>

namespace roster::http {
namespace {

/// A job that begins, and goes on when it may.
class Held {
 public:
  WorkerPool::Job job() {
    return [this](bool run) {
      ran_ = run;
      begun_.count_down();
      if (run) go_on_.acquire();
      ended_.count_down();
    };
  }
  void wait_until_it_begins() { begun_.wait(); }
  void release() { go_on_.release(); }
  void wait_until_it_ends() { ended_.wait(); }
  bool begun() const { return begun_.try_wait(); }
  bool ran() const { return ran_; }

 private:
  std::latch begun_{1};
  std::latch ended_{1};
  std::binary_semaphore go_on_{0};
  std::atomic<bool> ran_ = false;
};

class WorkerPoolTest : public ::testing::Test {
 protected:
  void start(WorkerPool::Options options) {
    pool_ = std::make_unique<WorkerPool>(options, metrics_.gauge("queued", "Waiting."));
    pool_->start();
  }
  bool submit(Held& held, Work work) {
    auto job = held.job();
    return pool_->submit(job, work);
  }

  Metrics metrics_;
  std::unique_ptr<WorkerPool> pool_;
};

TEST_F(WorkerPoolTest, WhatWaitsForTheDiskMayHaveAllThreads) {
  start({.workers = 4, .computing = 1, .queue_max = 10});
  std::array<Held, 4> writes;
  for (Held& write : writes) ASSERT_TRUE(submit(write, Work::kWrite));
  for (Held& write : writes) write.wait_until_it_begins();
  for (Held& write : writes) write.release();
  pool_->stop();
}

TEST_F(WorkerPoolTest, WritesPassWhatComputes) {
  start({.workers = 4, .computing = 1, .queue_max = 10});
  Held read;
  Held write;
  ASSERT_TRUE(submit(read, Work::kRead));
  read.wait_until_it_begins();
  ASSERT_TRUE(submit(write, Work::kWrite));
  write.wait_until_it_begins();
  write.release();
  read.release();
  pool_->stop();
}

// A listing of seconds on each processor must not keep everybody else waiting for as long.
TEST_F(WorkerPoolTest, LongWorkLetsFurtherOnesBegin) {
  start({.workers = 5, .computing = 2, .queue_max = 10});
  std::array<Held, 5> reads;
  for (Held& read : reads) ASSERT_TRUE(submit(read, Work::kRead));
  for (Held& read : reads) read.wait_until_it_begins();
  for (Held& read : reads) read.release();
  for (Held& read : reads) read.wait_until_it_ends();
  // And the same again, after the watch may have gone to sleep.
  std::array<Held, 4> later;
  for (Held& read : later) pool_->submit_continuation(read.job());
  for (Held& read : later) read.wait_until_it_begins();
  for (Held& read : later) read.release();
  pool_->stop();
}

TEST_F(WorkerPoolTest, EverythingIsCarriedOutOnce) {
  start({.workers = 8, .computing = 2, .queue_max = 100'000});
  constexpr int kJobs = 30'000;
  std::latch done(kJobs);
  std::atomic<int> ran = 0;
  for (int i = 0; i < kJobs; ++i) {
    WorkerPool::Job job = [&done, &ran](bool run) {
      ran += run ? 1 : 0;
      done.count_down();
    };
    if (i % 3 == 0) {
      pool_->submit_continuation(std::move(job));
    } else {
      ASSERT_TRUE(pool_->submit(job, i % 3 == 1 ? Work::kRead : Work::kWrite));
    }
  }
  done.wait();
  pool_->stop();
  EXPECT_EQ(ran, kJobs);
  EXPECT_NE(metrics_.render().find("queued 0"), std::string::npos) << metrics_.render();
}

TEST_F(WorkerPoolTest, NewWorkIsRefusedWhenTooMuchWaitsAndContinuationsNever) {
  start({.workers = 1, .computing = 1, .queue_max = 2});
  Held running;
  ASSERT_TRUE(submit(running, Work::kWrite));
  running.wait_until_it_begins();
  Held first;
  Held second;
  Held refused;
  Held continuation;
  EXPECT_TRUE(submit(first, Work::kRead));
  EXPECT_TRUE(submit(second, Work::kWrite));
  EXPECT_FALSE(submit(refused, Work::kRead));
  EXPECT_FALSE(submit(refused, Work::kWrite));
  pool_->submit_continuation(continuation.job());
  for (Held* each : {&running, &first, &second, &continuation}) each->release();
  for (Held* each : {&first, &second, &continuation}) each->wait_until_it_ends();
  pool_->stop();
  EXPECT_FALSE(refused.begun());
}

TEST_F(WorkerPoolTest, StoppingLetsRunningJobsEndAndDropsTheRest) {
  start({.workers = 1, .computing = 1, .queue_max = 100'000'000});
  Held running;
  ASSERT_TRUE(submit(running, Work::kRead));
  running.wait_until_it_begins();
  std::atomic<int> ran = 0;
  const auto more = [this, &ran] {
    WorkerPool::Job job = [&ran](bool) { ++ran; };
    return pool_->submit(job, Work::kRead);
  };
  ASSERT_TRUE(more());
  std::thread stopper([this] { pool_->stop(); });
  while (more()) std::this_thread::yield();  // until it is stopping
  running.release();
  stopper.join();
  EXPECT_TRUE(running.ran());
  EXPECT_EQ(ran, 0);
  EXPECT_NE(metrics_.render().find("queued 0"), std::string::npos);
}

}  // namespace
}  // namespace roster::http
