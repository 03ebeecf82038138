#include "agent/join.h"

#include <utility>

#include "agent/errors.h"
#include "agent/hub.h"

namespace roster::agent {

Result<feed::Enrollment> join(const Config& config, const StateDir& state, std::uint32_t highest_id,
                              const RandomBytes& random) {
  ASSIGN_OR_RETURN(const Secret credential, on_this_node(state.begin_joining(random)));
  auto enrollment = enroll(config, highest_id, credential);
  if (!enrollment) {
    // The hub has not bound this credential to this name, and never will when it is another node's:
    // a host that was renamed, a disk that was copied, a token of another organization before. No
    // other refusal says that: with the token or the configuration put right, the hub may still
    // know the node by it.
    if (enrollment.error().code == Code::kAlreadyExists) state.end_joining();
    return enrollment;
  }
  RETURN_IF_ERROR(on_this_node(state.save_enrollment(*enrollment)));
  state.end_joining();
  return enrollment;
}

}  // namespace roster::agent
