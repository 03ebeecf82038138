#include "slurm/accounting_commands.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/subprocess.h"
#include "base/text.h"
#include "base/unicode.h"

namespace roster::slurm {
namespace {

using accounting::Act;
using accounting::Change;
using accounting::Setting;
using accounting::Step;

constexpr std::size_t kNameBytesMax = 64;
constexpr std::size_t kTextBytesMax = 256;
constexpr std::size_t kOutputBytesMax = 256 << 20;
constexpr std::size_t kSentenceBytesMax = 300;

/// As slurmdbd keeps names, so that each is found again under the name that it was given.
bool is_plain_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax && !text.starts_with('-') &&
         std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
                  c == '.';
         });
}

/// Of descriptions and organizations: sacctmgr(1) takes quotes away and ends options at them.
bool is_plain_text(std::string_view text) {
  return text.size() <= kTextBytesMax && std::ranges::all_of(text, [](char c) {
           return static_cast<unsigned char>(c) >= ' ' && c != '\x7f' && c != '\'' && c != '"' &&
                  c != '`' && c != '\\' && c != '|';
         });
}

std::unexpected<Error> refused(std::string_view what, std::string_view text) {
  return fail(Code::kInvalidArgument,
              "refused to send the " + std::string(what) + " \"" + printable(text) + "\" to Slurm");
}

/// The word for `=`. sacctmgr(1) knows this one by its column only.
std::string_view word_of(Setting setting) {
  return setting == Setting::kMinPrioThreshold ? "MinPrioThres" : accounting::name_of(setting);
}

/// "cpu=4,mem=-1": what is in `from` and not in `to` is taken away.
std::string tres_words(std::string_view from, std::string_view to) {
  std::set<std::string_view> kept;
  for (const std::string_view each : split(to, ',')) kept.insert(each.substr(0, each.find('=')));
  std::string words(to);
  if (from.empty()) return words;
  for (const std::string_view each : split(from, ',')) {
    const std::string_view type = each.substr(0, each.find('='));
    if (!kept.contains(type)) words += (words.empty() ? "" : ",") + std::string(type) + "=-1";
  }
  return words;
}

bool is_tres(Setting setting) {
  constexpr std::array kTres = {Setting::kGrpTres,        Setting::kGrpTresMins,
                                Setting::kGrpTresRunMins, Setting::kMaxTresPerJob,
                                Setting::kMaxTresPerNode, Setting::kMaxTresMinsPerJob};
  return std::ranges::find(kTres, setting) != kTres.end();
}

/// "'Fairshare'='3'..." of load: options after a name.
std::string options_of(const std::vector<Change>& changes) {
  std::string out;
  for (const Change& each : changes) {
    out += ":" + std::string(word_of(each.setting)) + "='" + each.to + "'";
  }
  return out;
}

/// Names come from check_step; one line each.
void add_account_line(std::string& file, const Step& step) {
  file += "Account - '" + step.account + "'";
  // Of one that other clusters have, they would be changed there, too.
  if (!step.elsewhere) {
    file += ":Description='" + (step.description.empty() ? step.account : step.description) +
            "':Organization='" + step.organization + "'";
  }
  file += options_of(step.changes) + "\n";
}

void add_user_line(std::string& file, const Step& step) {
  file += "User - '" + step.user + "'";
  // Of a user whom other clusters have, it would be changed there, too.
  if (step.act == Act::kAddUser && !step.elsewhere) {
    file += ":DefaultAccount='" + step.account + "'";
  }
  file += options_of(step.changes) + "\n";
}

/// What the command said, in one line, without its progress.
std::string sentence_of(const ProcessOutput& ran) {
  std::string out;
  each_line(ran.err.empty() ? ran.out : ran.err, [&](std::string_view line) {
    line = trim(line);
    constexpr std::string_view kPrefix = "sacctmgr: error: ";
    if (line.starts_with(kPrefix)) line.remove_prefix(kPrefix.size());
    if (line.empty() || line.contains("Done adding cluster")) return;
    if (out.size() < kSentenceBytesMax) out += (out.empty() ? "" : "; ") + printable(line);
  });
  return out;
}

struct Meaning {
  std::string_view words;
  Code code;
  std::string_view keyword;
};
constexpr Meaning kMeanings[] = {
    {"Job(s) active", Code::kFailedPrecondition, "7001"},
    {"remove the default account", Code::kFailedPrecondition, "7009"},
    {"authentication", Code::kUnauthenticated, ""},
    {"ccess/permission denied", Code::kPermissionDenied, ""},
    {"don't have permission", Code::kPermissionDenied, ""},
    {"Only admins", Code::kPermissionDenied, ""},
    {"onnect", Code::kUnavailable, ""},   // "Unable to contact", "Connection refused", "persistent
    {"contact", Code::kUnavailable, ""},  // connection"
    {"timed out", Code::kUnavailable, ""},
    {"Problem talking to the database", Code::kUnavailable, ""},
    {"Slurmdbd", Code::kUnavailable, ""},
};

Error error_of(std::string_view asked, std::string sentence, int status) {
  if (sentence.empty()) sentence = "exit status " + std::to_string(status);
  for (const Meaning& each : kMeanings) {
    if (sentence.contains(each.words)) {
      return {each.code, std::string(asked) + ": " + sentence, each.keyword};
    }
  }
  return {Code::kInternal, std::string(asked) + ": " + sentence, {}};
}

}  // namespace

Result<void> check_step(const Step& step) {
  if (!step.account.empty() && !is_plain_name(step.account)) {
    return refused("account name", step.account);
  }
  if (!step.user.empty() && !is_plain_name(step.user)) return refused("user name", step.user);
  if (!is_plain_text(step.description)) return refused("description", step.description);
  if (!is_plain_text(step.organization)) return refused("organization", step.organization);
  const bool is_text = step.act == Act::kDescribeAccount || step.act == Act::kAdoptAccount;
  if (is_text ? !is_plain_text(step.to)
              : !step.to.empty() && !is_plain_name(ascii_lower(step.to))) {
    return refused("value", step.to);
  }
  for (const Change& each : step.changes) {
    if (each.to == accounting::default_of(each.setting)) continue;
    const auto value = accounting::canonical(each.setting, each.to);
    if (!value || *value != each.to) return refused(accounting::name_of(each.setting), each.to);
  }
  return {};
}

std::vector<std::string> words_of(const std::vector<Change>& changes) {
  std::vector<std::string> words;
  for (const Change& each : changes) {
    std::string value = each.to;
    if (is_tres(each.setting)) {
      value = tres_words(each.from, each.to);
    } else if (value.empty() && each.setting != Setting::kQos) {
      value = "-1";
    }
    words.push_back(std::string(word_of(each.setting)) + "=" + value);
  }
  return words;
}

std::string load_file(std::string_view cluster, const std::vector<const Step*>& steps) {
  // By parent, so that each is named once; the accounts of one stage do not hang on each other.
  std::map<std::string, std::vector<const Step*>> below;
  for (const Step* step : steps) {
    below[step->act == Act::kAddAccount ? step->to : step->account].push_back(step);
  }
  std::string file = "Cluster - '" + std::string(cluster) + "'\n";
  for (const auto& [parent, children] : below) {
    file += "Parent - '" + parent + "'\n";
    for (const Step* child : children) {
      child->act == Act::kAddAccount ? add_account_line(file, *child) : add_user_line(file, *child);
    }
  }
  return file;
}

CommandRunner::CommandRunner(SlurmCommands commands, const Secret& token)
    : commands_(std::move(commands)), token_(token) {}

Result<std::string> CommandRunner::run(std::string_view program, std::vector<std::string> words,
                                       std::string_view asked, std::string input) {
  std::vector<std::string> argv{(commands_.folder / program).string()};
  argv.insert(argv.end(), std::make_move_iterator(words.begin()),
              std::make_move_iterator(words.end()));
  ProcessLimits limits;
  limits.deadline = commands_.deadline;
  limits.output_bytes_max = kOutputBytesMax;
  limits.input = std::move(input);
  limits.environment.push_back("SLURM_JWT=" + token_.expose());
  if (!commands_.slurm_conf.empty()) {
    limits.environment.push_back("SLURM_CONF=" + commands_.slurm_conf.string());
  }
  ++runs_;
  auto ran = run_program(argv, limits);
  if (!ran) return fail_in(asked, std::move(ran).error());
  // `sacctmgr load` ends with 0 when it could not read its file.
  const bool failed = ran->status != 0 || ran->err.contains("Problem with ");
  if (failed) return std::unexpected(error_of(asked, sentence_of(*ran), ran->status));
  return std::move(ran->out);
}

Result<std::string> CommandRunner::sacctmgr(std::vector<std::string> words, std::string input) {
  words.insert(words.begin(), {"-i", "-n", "-P", "-Q"});
  return run("sacctmgr", std::move(words), "slurmdbd", std::move(input));
}

}  // namespace roster::slurm
