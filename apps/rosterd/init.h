#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"

namespace roster::rosterd {

struct InitOptions {
  std::filesystem::path data_dir;
  std::string org;
  std::vector<std::string> dns;  // more names or addresses for the server certificate
  Clock clock = system_now;
  RandomBytes random = system_random;
};

/// Hands the operator token to whoever asked. An error undoes the initialization.
using ShowToken = std::function<Result<void>(const Secret& token)>;

/// Makes store, organization, authority, server certificate and one operator token.
///
/// Everything is made in DIR/init.tmp and moved into place at the end, the database last: a
/// directory with roster.db is complete. The token is shown before that, so that no hub can exist
/// whose token nobody saw. After a failure nothing is left; after a crash the next init removes
/// what is there and starts anew. kFailedPrecondition when DIR holds a hub, or files of one without
/// its database; kUnavailable while another init runs there.
Result<void> init(const InitOptions& options, const ShowToken& show);

/// A new operator token for a hub that is not running, for operators who lost theirs.
/// `name` must not be that of a living operator token.
Result<Secret> mint_operator_token(const std::filesystem::path& data_dir, const std::string& name,
                                   const Clock& clock, const RandomBytes& random);

}  // namespace roster::rosterd
