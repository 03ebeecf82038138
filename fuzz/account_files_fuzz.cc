#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/unicode.h"
#include "sync/files_source.h"

using namespace roster;
using namespace roster::sync;

namespace {

void check_text(std::string_view text) {
  CHECK(is_valid_utf8(text));
  CHECK(!has_control_characters(text));
}

}  // namespace

// Whatever the files hold: an error, or people and groups with texts that are texts. The input is
// passwd, group and shadow with 0xff bytes between them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto take = [&rest] {
    const std::size_t end = rest.find('\xff');
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return part;
  };
  AccountTexts texts;
  texts.passwd = take();
  texts.group = take();
  texts.has_shadow = !rest.empty();
  texts.shadow = rest;
  const Intake intake{
      .group =
          [](const reconcile::Group& group) {
            CHECK(!group.key.empty());
            check_text(group.name);
            for (const auto& member : group.members) check_text(member);
          },
      .person =
          [](const reconcile::Person& person) {
            CHECK(!person.key.empty() && !person.user_name.empty());
            check_text(person.user_name);
            for (const auto& text : person.texts) check_text(text.value_or(""));
          },
      .keep =
          [](const std::string& key, const reconcile::Problem& why) {
            check_text(key);
            check_text(why.sentence);
          },
      .keep_group = [](const std::string& key, const reconcile::Problem&) { check_text(key); },
      .hide_locks = [](const reconcile::Problem&) {},
      .warn =
          [](const reconcile::Problem& problem) {
            check_text(problem.subject);
            check_text(problem.sentence);
          }};
  (void)read_accounts(texts, {.locked_password_is_inactive = true}, 20'000, intake);
  return 0;
}
