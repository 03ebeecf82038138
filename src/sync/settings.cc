#include "sync/settings.h"

#include <utility>

#include "base/config.h"
#include "base/file.h"
#include "sync/scim_source.h"

namespace roster::sync {
namespace {

constexpr std::size_t kTokenBytesMax = 16 << 10;
constexpr std::size_t kPrefixBytesMax = 64;

Result<Secret> token_of(const Endpoint& endpoint, const Secret& given, std::string_view setting) {
  if (endpoint.token_file.empty()) {
    if (!given.empty()) return given;
    return fail(Code::kInvalidArgument, std::string(setting) +
                                            ": missing (a file with the token, mode 0600), and "
                                            "there is none in the environment");
  }
  ASSIGN_OR_RETURN(std::string token, read_private_file(endpoint.token_file, kTokenBytesMax));
  return Secret(std::move(token));
}

Result<scim_client::Options> client_options(const Endpoint& endpoint, const Secret& given,
                                            const std::string& section) {
  scim_client::Options options;
  options.url_setting = section + ".url";
  options.token_setting = section + ".token_file";
  options.url = endpoint.url;
  while (options.url.ends_with('/')) options.url.pop_back();
  if (options.url.empty()) {
    return fail(Code::kInvalidArgument, options.url_setting +
                                            ": missing (the base of the SCIM service, such as "
                                            "https://HOST/api/organizations/ORG/scim/v2)");
  }
  ASSIGN_OR_RETURN(options.token, token_of(endpoint, given, options.token_setting));
  options.ca_file = endpoint.ca_file;
  options.user_agent = "roster-sync";
  return options;
}

}  // namespace

Result<void> Settings::read_file(const std::filesystem::path& file) {
  ConfigReader reader;
  reader.bind("prefix", prefix);
  reader.bind("groups", groups);
  reader.bind("parallel", parallel, 1, 64);
  reader.bind("homes_and_shells", homes_and_shells);
  reader.bind("shrink.people", shrink_people_max, 0, 1'000'000);
  reader.bind("shrink.percent", shrink_percent_max, 0, 100);
  reader.bind("source.kind", source_kind);
  reader.bind("source.url", source.url);
  reader.bind("source.token_file", source.token_file);
  reader.bind("source.ca_file", source.ca_file);
  reader.bind("destination.url", destination.url);
  reader.bind("destination.token_file", destination.token_file);
  reader.bind("destination.ca_file", destination.ca_file);
  reader.bind("destination.replace_members", replace_members);
  return reader.read_file(file);
}

void Settings::read_environment(const Environment& environment) {
  if (auto token = environment("ROSTER_SYNC_SOURCE_TOKEN"))
    source_token = Secret(std::move(*token));
  if (auto token = environment("ROSTER_SYNC_TOKEN")) destination_token = Secret(std::move(*token));
}

Result<std::unique_ptr<Source>> Settings::open_source(const scim_client::Pause& pause) const {
  if (source_kind == "scim") {
    ASSIGN_OR_RETURN(const scim_client::Options options,
                     client_options(source, source_token, "source"));
    return open_scim(options, pause);
  }
  return fail(Code::kInvalidArgument,
              source_kind.empty() ? "source.kind: missing (scim)"
                                  : "source.kind: there is no kind \"" + source_kind + "\" (scim)");
}

Result<Destination> Settings::open_destination(const scim_client::Pause& pause) const {
  if (prefix.empty() || prefix.size() > kPrefixBytesMax) {
    return fail(Code::kInvalidArgument,
                "prefix: 1 to 64 bytes, such as \"roster:\": it marks what may be changed");
  }
  DestinationOptions options;
  ASSIGN_OR_RETURN(options.server, client_options(destination, destination_token, "destination"));
  options.prefix = prefix;
  options.parallel = static_cast<std::size_t>(parallel);
  options.replace_members = replace_members;
  return Destination(std::move(options), pause);
}

RunOptions Settings::run_options() const {
  RunOptions options;
  options.groups = groups;
  options.homes_and_shells = homes_and_shells;
  options.plan.shrink_people_max = static_cast<std::size_t>(shrink_people_max);
  options.plan.shrink_percent_max = static_cast<std::size_t>(shrink_percent_max);
  options.plan.accept_shrink = accept_shrink;
  return options;
}

}  // namespace roster::sync
