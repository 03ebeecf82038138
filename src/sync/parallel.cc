#include "sync/parallel.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"

namespace roster::sync {

Result<void> in_parallel(std::size_t count, std::size_t workers,
                         const std::function<Result<void>(std::size_t, std::size_t)>& work) {
  CHECK(workers > 0);
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::optional<Error> first;
  const auto run = [&next, &mutex, &first, &work, count](std::size_t worker) {
    for (std::size_t index = next++; index < count; index = next++) {
      auto done = work(worker, index);
      if (done) continue;
      next = count;
      const std::lock_guard lock(mutex);
      if (!first) first = std::move(done).error();
      return;
    }
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (std::size_t worker = 1; worker < std::min(workers, count); ++worker) {
        threads.emplace_back(run, worker);
      }
    } catch (const std::system_error& error) {
      log::warn("fewer requests at once than asked for", {{"reason", error.what()}});
    }
    run(0);
  }
  if (first) return std::unexpected(std::move(*first));
  return {};
}

}  // namespace roster::sync
