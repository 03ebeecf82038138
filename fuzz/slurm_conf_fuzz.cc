// An edited slurm.conf says what was wanted, is not edited a second time, and has lost no line but
// those that the edit names.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "cli/slurm_conf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roster::cli;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)conf_includes(text);
  for (const std::string_view option : {"jwks", "jwt_key"}) {
    const JwtSetting wanted{option, "/etc/slurm/file"};
    const auto edit = add_jwt(text, wanted);
    if (!edit) continue;
    CHECK(edit->changes.empty() == (edit->text == text));
    const auto again = add_jwt(edit->text, wanted);
    CHECK(again.has_value() && again->changes.empty());
    for (const char* name : {"AuthAltTypes", "AuthAltParameters"}) {
      const auto settings = conf_settings(edit->text, name);
      CHECK(settings.has_value() && settings->size() == 1);
    }
    const auto before = conf_settings(text, "SlurmctldHost");
    const auto after = conf_settings(edit->text, "SlurmctldHost");
    CHECK(before.has_value() == after.has_value());
    if (!before) continue;
    CHECK(std::ranges::equal(*before, *after, {}, &ConfSetting::value, &ConfSetting::value));
    CHECK(conf_includes(text) == conf_includes(edit->text));
  }
  return 0;
}
