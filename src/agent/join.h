#pragma once

#include <cstdint>

#include "agent/config.h"
#include "agent/state.h"
#include "base/ids.h"
#include "base/result.h"
#include "feed/enrollment.h"

namespace roster::agent {

/// Enrols this node with the join token and stores the enrolment. A kill at any instant, or an
/// answer that is lost, and the next call goes on with the same credential; only when the hub
/// answers that it holds the name or the credential for another's (409), a new one is drawn. Errors
/// are those of enroll() and, with kLocal, those of the state directory.
Result<feed::Enrollment> join(const Config& config, const StateDir& state, std::uint32_t highest_id,
                              const RandomBytes& random);

}  // namespace roster::agent
