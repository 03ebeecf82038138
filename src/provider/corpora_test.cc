#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "base/encoding.h"
#include "provider/testing.h"

// Replays the clients' conversations of tests/corpora (its README.md describes the form): each
// story is a test of its own against a fresh hub.
namespace roster::provider {
namespace {

const std::filesystem::path& corpora() {
  static const std::filesystem::path path(ROSTER_CORPORA);
  return path;
}

/// "okta/spec.json", ... in order.
std::vector<std::string> stories() {
  std::vector<std::string> out;
  for (const auto& client : std::filesystem::directory_iterator(corpora())) {
    if (!client.is_directory()) continue;
    for (const auto& file : std::filesystem::directory_iterator(client)) {
      if (file.path().extension() == ".json") {
        out.push_back(client.path().filename() / file.path().filename());
      }
    }
  }
  std::ranges::sort(out);
  return out;
}

json::value read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(file.good()) << path;
  return parsed(text.str());
}

/// A misspelt name must not quietly check nothing.
void expect_only(const json::object& object, const std::set<std::string_view>& names) {
  for (const auto& member : object) {
    const std::string_view name(member.key().data(), member.key().size());
    EXPECT_TRUE(names.contains(name)) << "the story has an unknown name: " << name;
  }
}

/// Where `actual` lacks something of `expected`, or "". Objects may have more names than expected;
/// lists have exactly the expected elements, in any order.
std::string difference(const json::value& expected, const json::value& actual,
                       const std::string& where = "") {
  if (expected.is_object() && actual.is_object()) {
    for (const auto& [name, value] : expected.get_object()) {
      const std::string below = where + "/" + std::string(name.data(), name.size());
      const json::value* own = actual.get_object().if_contains(name);
      if (own == nullptr) return below + " is missing";
      if (std::string inner = difference(value, *own, below); !inner.empty()) return inner;
    }
    return "";
  }
  if (expected.is_array() && actual.is_array()) {
    if (expected.get_array().size() != actual.get_array().size()) {
      return where + " is " + json::serialize(actual);
    }
    std::vector<const json::value*> left;
    for (const json::value& element : actual.get_array()) left.push_back(&element);
    for (const json::value& element : expected.get_array()) {
      const auto same = std::ranges::find_if(left, [&element](const json::value* candidate) {
        return difference(element, *candidate).empty();
      });
      if (same == left.end()) {
        return where + " has no " + json::serialize(element) + ": " + json::serialize(actual);
      }
      left.erase(same);
    }
    return "";
  }
  return expected == actual ? "" : where + " is " + json::serialize(actual);
}

/// What `pointer` (RFC 6901) selects, or null.
const json::value* at(const json::value& value, const json::value& pointer) {
  boost::json::error_code error;
  return value.find_pointer(json::view(pointer.as_string()), error);
}

class Corpora : public ScimTest, public ::testing::WithParamInterface<std::string> {
 protected:
  void replay(const std::string& name) {
    const json::value story = read_json(corpora() / name);
    const json::object& whole = story.as_object();
    expect_only(whole, {"story", "headers", "query", "steps"});
    client_ = name.substr(0, name.find('/'));
    if (const json::object* headers = json::find_object(whole, "headers")) headers_ = *headers;
    query_ = json::find_string(whole, "query").value_or("");
    const json::array& steps = whole.at("steps").as_array();
    for (std::size_t i = 0; i < steps.size() && !HasFatalFailure(); ++i) {
      const json::object& step = steps[i].as_object();
      SCOPED_TRACE("step " + std::to_string(i + 1) + ": " +
                   std::string(json::find_string(step, "does").value_or("")));
      now_ += std::chrono::seconds(1);
      replay_step(step);
    }
  }

 private:
  void replay_step(const json::object& step) {
    expect_only(step, {"does", "as", "method", "target", "headers", "body", "expect", "save"});
    const json::object& expected = step.at("expect").as_object();
    expect_only(expected, {"status", "body", "present", "absent", "headers", "writes"});
    const Seq before = head();
    const Answer answer = send_step(step);
    const std::string text = json::serialize(answer.body);
    ASSERT_EQ(answer.status, expected.at("status").as_int64()) << text;
    expect_form(answer);
    const json::value body(answer.body);
    if (const json::value* wanted = json::find(expected, "body")) {
      EXPECT_EQ(difference(filled(*wanted), body), "");
    }
    if (const json::array* names = json::find_array(expected, "present")) {
      for (const json::value& pointer : *names) EXPECT_TRUE(at(body, pointer)) << pointer << text;
    }
    if (const json::array* names = json::find_array(expected, "absent")) {
      for (const json::value& pointer : *names) EXPECT_FALSE(at(body, pointer)) << pointer << text;
    }
    if (const json::object* headers = json::find_object(expected, "headers")) {
      for (const auto& [name, value] : *headers) {
        EXPECT_EQ(answer.headers.get({name.data(), name.size()}), filled(value).as_string());
      }
    }
    if (const auto writes = json::find_bool(expected, "writes")) {
      EXPECT_EQ(head() != before, *writes) << "whether a sequence number was taken";
    }
    save(step, body);
  }

  Answer send_step(const json::object& step) {
    std::vector<std::pair<std::string, std::string>> headers;
    const auto add = [this, &headers](const json::object& more) {
      for (const auto& [name, value] : more) {
        headers.emplace_back(std::string(name.data(), name.size()), filled(value).as_string());
      }
    };
    add(headers_);
    if (const json::object* own = json::find_object(step, "headers")) add(*own);
    std::string body;
    if (const json::value* value = json::find(step, "body")) {
      const bool file =
          value->is_string() && json::view(value->as_string()).starts_with("messages/");
      body = json::serialize(
          filled(file ? read_json(corpora() / client_ / std::string(value->as_string())) : *value));
    }
    return send(bearer(std::string(json::find_string(step, "as").value_or(client_))),
                std::string(json::find_string(step, "method").value()),
                target(std::string(json::find_string(step, "target").value())), body, headers);
  }

  /// What holds for every answer to these clients.
  void expect_form(const Answer& answer) {
    EXPECT_EQ(json::serialize(answer.body).find("\"password\""), std::string::npos);
    EXPECT_EQ(answer.body.empty(), answer.status == 204);
    if (answer.status >= 400) {
      EXPECT_EQ(answer.body.at("schemas"),
                parsed(R"(["urn:ietf:params:scim:api:messages:2.0:Error"])"));
      EXPECT_EQ(answer.text("status"), std::to_string(answer.status));
      EXPECT_FALSE(answer.text("detail").empty());
    } else if (const json::array* resources = json::find_array(answer.body, "Resources")) {
      EXPECT_EQ(json::find_int(answer.body, "itemsPerPage"), resources->size());
      EXPECT_GE(answer.total(), static_cast<std::int64_t>(resources->size()));
      EXPECT_TRUE(json::find_int(answer.body, "startIndex"));
    } else if (answer.status == 201) {
      EXPECT_EQ(answer.body.at("meta").at("location").as_string(), answer.headers.get("Location"));
    }
  }

  void save(const json::object& step, const json::value& body) {
    const json::object* words = json::find_object(step, "save");
    if (words == nullptr) return;
    for (const auto& [name, pointer] : *words) {
      const json::value* value = at(body, pointer);
      ASSERT_TRUE(value) << pointer << " of " << json::serialize(body);
      saved_[std::string(name.data(), name.size())] = *value;
    }
  }

  const json::value& word(const std::string& name) {
    const auto found = saved_.find(name);
    if (found == saved_.end()) ADD_FAILURE() << "the story has no ${" << name << "} yet";
    return found == saved_.end() ? saved_[name] = "" : found->second;
  }

  /// `text` with each ${name} replaced by what was saved, percent-encoded in a target.
  std::string filled(std::string text, bool target) {
    for (std::size_t begin = 0; (begin = text.find("${", begin)) != std::string::npos;) {
      const std::size_t end = text.find('}', begin);
      CHECK(end != std::string::npos);
      const json::value& value = word(text.substr(begin + 2, end - begin - 2));
      std::string with =
          value.is_string() ? std::string(value.as_string()) : json::serialize(value);
      if (target) with = percent_encode(with);
      text.replace(begin, end + 1 - begin, with);
      begin += with.size();
    }
    return text;
  }

  /// A string that is nothing but ${name} becomes the saved value, whatever its kind.
  json::value filled(const json::value& value) {
    if (const json::string* string = value.if_string()) {
      const std::string text(*string);
      if (text.starts_with("${") && text.find('}') == text.size() - 1) {
        return word(text.substr(2, text.size() - 3));
      }
      return json::value(filled(text, false));
    }
    json::value out = value;
    if (json::array* array = out.if_array()) {
      for (json::value& element : *array) element = filled(element);
    } else if (json::object* object = out.if_object()) {
      for (auto& member : *object) member.value() = filled(member.value());
    }
    return out;
  }

  /// As it goes over the wire: stories write spaces and quotes as they are.
  std::string target(const std::string& text) {
    std::string out;
    for (const char c : filled(text, true)) {
      const bool plain = c > ' ' && c < '\x7f' &&
                         std::string_view("\"<>\\^`{|}[]").find(c) == std::string_view::npos;
      out += plain ? std::string(1, c) : percent_encode(std::string_view(&c, 1));
    }
    if (query_.empty()) return out;
    return out + (out.contains('?') ? "&" : "?") + query_;
  }

  /// The token of a client; of an "admin", of a "reader"; none for "nobody".
  const std::string& bearer(const std::string& name) {
    if (bearers_.empty()) {
      bearers_ = {{"okta", okta_},
                  {"entra", entra_},
                  {"reader", reader_},
                  {"admin", admin_},
                  {"nobody", ""}};
    }
    const auto found = bearers_.find(name);
    if (found != bearers_.end()) return found->second;
    return bearers_[name] = token(acme_, directory::Scope::kScim, name);
  }

  std::string client_;
  json::object headers_;
  std::string query_;
  std::map<std::string, json::value> saved_;
  std::map<std::string, std::string> bearers_;
};

TEST_P(Corpora, Story) { replay(GetParam()); }

INSTANTIATE_TEST_SUITE_P(, Corpora, ::testing::ValuesIn(stories()),
                         [](const ::testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param.substr(0, info.param.rfind('.'));
                           std::ranges::replace_if(
                               name, [](char c) { return c == '/' || c == '-'; }, '_');
                           return name;
                         });

}  // namespace
}  // namespace roster::provider
