#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "reconcile/directory.h"

namespace roster::sync {

/// Lines of posix::SshPublicKey for those of `texts` that are keys, each key once. What is none, or
/// one too many, is left out and said: a bad key never costs a person their account. `subject` is
/// whose they are, as of a Problem.
std::vector<std::string> take_keys(const std::string& subject, std::span<const std::string> texts,
                                   const std::function<void(reconcile::Problem)>& warn);

}  // namespace roster::sync
