#pragma once

#include <string_view>

namespace roster::agent {

/// Sends a message to the service manager as sd_notify(3) does, e.g. "READY=1\nSTATUS=...". Nothing
/// happens when $NOTIFY_SOCKET is not set; a manager that does not listen is no error.
void notify_service_manager(std::string_view message);

}  // namespace roster::agent
