// The bound for a pass over a SCIM server: fetch every page, read it as JSON once, and write as
// many bytes as the maps have, durably. No checks, no names, no indexes of its own.
//   mirror_floor URL TARGETS-FILE BYTES OUTPUT-FILE

#include <fcntl.h>
#include <simdjson.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "base/fd.h"
#include "base/file.h"
#include "http/client.h"

using namespace roster;

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  http::ClientOptions options;
  options.url = argv[1];
  options.bearer_token = Secret("token");
  auto client = http::Client::create(std::move(options));
  if (!client) return 1;
  std::ifstream targets(argv[2]);
  simdjson::dom::parser parser;
  std::size_t resources = 0;
  for (std::string target; std::getline(targets, target);) {
    http::ClientRequest request;
    request.target = target;
    const auto response = (*client)->call(request);
    if (!response || response->status != 200) return 1;
    simdjson::dom::array list;
    if (parser.parse(response->body)["Resources"].get(list) != simdjson::SUCCESS) return 1;
    resources += list.size();
  }
  const UniqueFd fd(::open(argv[4], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  const std::string bytes(std::strtoull(argv[3], nullptr, 10), 'x');
  if (!write_all(fd.get(), bytes) || ::fsync(fd.get()) != 0) return 1;
  std::printf("%zu\n", resources);
  return 0;
}
