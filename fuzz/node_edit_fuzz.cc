// Files of a node as the set-up may find them: whatever they hold, taking out what was put in gives
// back every byte.

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "node/doctor.h"
#include "node/insertion.h"
#include "node/nsswitch.h"
#include "node/texts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace node = roster::node;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto edited = node::add_nss_source(text)) {
    CHECK(node::remove_nss_source(edited->text, edited->insertions) == text);
    const auto again = node::add_nss_source(edited->text);
    CHECK(again && again->insertions.empty());
    node::unified_diff(text, edited->text, "a", "b");
  }
  if (const auto base = node::remove_block(text, {})) {
    for (const auto add : {node::append_block, node::prepend_block}) {
      const node::Edited edited = add(*base, "session optional x.so\n");
      const auto back = node::remove_block(edited.text, edited.insertions);
      CHECK(back && *back == *base);
    }
  }
  node::includes(text, "/etc/ssh/sshd_config.d/50-roster.conf");
  node::effective(text, "usepam");
  node::judge_nsswitch(text);
  node::nscd_caches(text);
  node::makes_homes(text);
  return 0;
}
