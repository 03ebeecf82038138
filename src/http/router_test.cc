#include "http/router.h"

#include <gtest/gtest.h>

#include "http/respond.h"

namespace roster::http {
namespace {

Response say(const std::string& text) { return text_response(200, text); }
std::string body_of(const Response& response) { return std::get<std::string>(response.body); }

Router sample() {
  Router router;
  router.add("GET", "/", [](auto&, auto&, auto&) { return say("root"); });
  router.add("GET", "/api/v1/users/{id}",
             [](auto&, auto&, const Params& params) { return say("user " + params.get("id")); });
  router.add("PUT", "/api/v1/users/{id}", [](auto&, auto&, auto&) { return say("put"); });
  router.add("GET", "/api/v1/users/me", [](auto&, auto&, auto&) { return say("me"); });
  router.add("GET", "/api/v1/{kind}/me/extra",
             [](auto&, auto&, const Params& params) { return say("extra " + params.get("kind")); });
  router.add("GET", "/api/organizations/{org}/scim/v2/{*rest}",
             [](auto&, auto&, const Params& params) {
               std::string text = params.get("org") + ":";
               for (const auto& segment : params.rest()) text += "[" + segment + "]";
               return say(text);
             });
  return router;
}

struct RouteCase {
  const char* method;
  const char* path;
  int status;
  const char* body;
  const char* route;
};

TEST(Router, Routes) {
  const Router router = sample();
  for (const RouteCase& c : {
           RouteCase{"GET", "/", 200, "root\n", "/"},
           RouteCase{"GET", "/api/v1/users/a%2Fb%20c", 200, "user a/b c\n", "/api/v1/users/{id}"},
           RouteCase{"GET", "/api/v1/users/7/", 200, "user 7\n", "/api/v1/users/{id}"},
           RouteCase{"HEAD", "/api/v1/users/7", 200, "user 7\n", "/api/v1/users/{id}"},
           RouteCase{"GET", "/api/v1/users/me", 200, "me\n", "/api/v1/users/me"},
           // The literal "users" leads nowhere here; the parameter must get its turn.
           RouteCase{"GET", "/api/v1/users/me/extra", 200, "extra users\n",
                     "/api/v1/{kind}/me/extra"},
           RouteCase{"GET", "/api/organizations/acme/scim/v2", 200, "acme:\n",
                     "/api/organizations/{org}/scim/v2/{*rest}"},
           RouteCase{"GET", "/api/organizations/acme/scim/v2/Users/a%2fb", 200,
                     "acme:[Users][a/b]\n", "/api/organizations/{org}/scim/v2/{*rest}"},
           RouteCase{"POST", "/api/v1/users/7", 405, "This path does not support the method.\n",
                     ""},
           RouteCase{"GET", "/api/v1/users", 404, "There is nothing at this path.\n", ""},
           RouteCase{"GET", "/API/v1/users/7", 404, "There is nothing at this path.\n", ""},
           RouteCase{"GET", "/api//v1", 400, "The path has an empty segment ('//').\n", ""},
           RouteCase{"GET", "/api/v1/users/..", 400, "The path has a '.' or '..' segment.\n", ""},
           RouteCase{"GET", "/api/v1/users/%2e%2E", 400, "The path has a '.' or '..' segment.\n",
                     ""},
           RouteCase{"GET", "/api/v1/users/a%00", 400, "The path has a bad percent-encoding.\n",
                     ""},
           RouteCase{"GET", "/api/v1/users/%zz", 400, "The path has a bad percent-encoding.\n", ""},
           RouteCase{"GET", "/api/v1/users/%ff", 400, "The path has a bad percent-encoding.\n", ""},
           RouteCase{"OPTIONS", "*", 400, "The path must begin with '/'.\n", ""},
       }) {
    Request request;
    request.method = c.method;
    request.path = c.path;
    Context context;
    const Response response = router(request, context);
    EXPECT_EQ(response.status, c.status) << c.path;
    EXPECT_EQ(body_of(response), c.body) << c.path;
    EXPECT_EQ(context.route, c.route) << c.path;
  }
}

TEST(Router, TellsTheMethodsOfAPath) {
  const Router router = sample();
  Request request;
  request.method = "DELETE";
  request.path = "/api/v1/users/7";
  Context context;
  EXPECT_EQ(router(request, context).headers.get("Allow"), "GET, HEAD, PUT");
}

TEST(Router, PrefixesNestAndFaceFormatsErrors) {
  Router inner;
  inner.add("GET", "/slurm/{cluster}/ping",
            [](auto&, auto&, const Params& params) { return say(params.get("cluster")); });
  inner.on_error([](std::string_view, int status, std::string_view sentence) {
    return json_response(status, json::object{{"detail", sentence}});
  });
  Router outer;
  outer.add_prefix("/slurm", std::move(inner));
  Request request;
  request.method = "GET";
  request.path = "/slurm/c1/ping";
  Context context;
  EXPECT_EQ(body_of(outer(request, context)), "c1\n");
  EXPECT_EQ(context.route, "/slurm/{cluster}/ping");
  request.path = "/slurm/c1/pong";
  const Response missing = outer(request, context);
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.headers.get("Content-Type"), "application/json");
  EXPECT_EQ(context.route, "/slurm/{*rest}");
}

}  // namespace
}  // namespace roster::http
