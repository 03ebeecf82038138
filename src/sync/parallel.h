#pragma once

#include <cstddef>
#include <functional>

#include "base/result.h"

namespace roster::sync {

/// work(worker, index) for every index below `count`, each once, by up to `workers` threads, rising
/// by and large; `worker` is below `workers` and never on two threads at a time. The first error
/// ends it: what has begun is finished, no more is begun, and the error is returned.
Result<void> in_parallel(std::size_t count, std::size_t workers,
                         const std::function<Result<void>(std::size_t, std::size_t)>& work);

}  // namespace roster::sync
