#pragma once

namespace CLI {
class App;
}

namespace roster::cli {

struct Session;

/// `roster sync`: carries people from one directory to another.
void add_sync(CLI::App& app, Session& session);

}  // namespace roster::cli
