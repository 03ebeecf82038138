#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unicode.h"
#include "posix/gecos.h"
#include "posix/home.h"
#include "posix/id_ranges.h"
#include "posix/names.h"
#include "posix/shell.h"

namespace posix = roster::posix;

// Everything of a person that becomes a field of a passwd line.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  const std::string proposed = posix::propose_name(text);
  if (!proposed.empty()) {
    CHECK(posix::LoginName::parse(proposed));
    CHECK(posix::GroupName::parse(proposed));
    CHECK(posix::propose_name(proposed) == proposed);
    CHECK(posix::LoginName::parse(posix::with_suffix(proposed, 4294967295U)));
  }
  const auto login = posix::LoginName::parse(text);
  if (login) CHECK(login->str() == text && posix::propose_name(text) == text);

  const std::string gecos = posix::sanitize_gecos(text);
  CHECK(gecos.size() <= posix::kGecosBytesMax && gecos.find_first_of(":,\n") == gecos.npos);
  CHECK(roster::is_valid_utf8(gecos) && !roster::has_control_characters(gecos));
  CHECK(posix::sanitize_gecos(gecos) == gecos);

  const auto home = posix::parse_home(text, {});
  if (home) {
    CHECK(home->starts_with("/home/") && home->find_first_of(":\n ") == home->npos);
    CHECK((*home + "/").find("/../") == home->npos);
    CHECK(posix::parse_home(*home, {}) == *home);
  }
  const auto homes = posix::HomeTemplate::parse(text, {});
  if (homes && login) CHECK(posix::parse_home(homes->expand(*login, posix::kIdMin), {}));
  if (homes)
    CHECK(posix::parse_home(homes->expand(*posix::LoginName::parse("a"), posix::kIdMax), {}));

  if (posix::validate_shell_path(text)) CHECK(text.starts_with('/'));
  const auto block = posix::parse_block(text);
  if (block && posix::validate_block(*block)) CHECK(posix::validate_import_block(*block));
  return 0;
}
