#pragma once

#include <string_view>

namespace roster::rosterd {

/// Tells systemd about this service when it asked to be told (NOTIFY_SOCKET, sd_notify(3)):
/// "READY=1", "STOPPING=1". Does nothing otherwise.
void notify_service_manager(std::string_view state);

}  // namespace roster::rosterd
