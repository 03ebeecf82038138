// The bound for reads: Boost.Beast with coroutines and nothing behind it. Answers every request
// with the same body, read from a file once; kept-alive connections are dealt out to the threads in
// turn. Prints its port and serves until it is ended.
//   beast_floor THREADS BODY-FILE

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;

constexpr auto kValue = asio::as_tuple(asio::use_awaitable);

asio::awaitable<void> serve(tcp::socket socket, std::string_view body) {
  beast::flat_buffer buffer;
  while (true) {
    beast::http::request<beast::http::string_body> request;
    const auto [unread, read] = co_await beast::http::async_read(socket, buffer, request, kValue);
    if (unread) co_return;
    beast::http::response<beast::http::span_body<const char>> response;
    response.set(beast::http::field::content_type, "application/scim+json");
    response.body() = {body.data(), body.size()};
    response.keep_alive(request.keep_alive());
    response.prepare_payload();
    const auto [unsent, written] = co_await beast::http::async_write(socket, response, kValue);
    if (unsent || !request.keep_alive()) co_return;
  }
}

using Contexts = std::vector<std::unique_ptr<asio::io_context>>;

asio::awaitable<void> accept(tcp::acceptor acceptor, const Contexts* contexts,
                             std::string_view body) {
  for (std::size_t turn = 0;; ++turn) {
    asio::io_context& context = *contexts->at(turn % contexts->size());
    auto [error, socket] = co_await acceptor.async_accept(context, kValue);
    if (error) co_return;
    socket.set_option(tcp::no_delay(true));
    asio::co_spawn(context, serve(std::move(socket), body), asio::detached);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc == 3 ? std::atoi(argv[1]) : 0;
  std::ifstream file(argc == 3 ? argv[2] : "");
  if (threads < 1 || !file) {
    std::fputs("usage: beast_floor THREADS BODY-FILE\n", stderr);
    return 1;
  }
  const std::string body{std::istreambuf_iterator<char>(file), {}};
  Contexts contexts;
  for (int i = 0; i < threads; ++i) contexts.push_back(std::make_unique<asio::io_context>(1));
  tcp::acceptor acceptor(*contexts.front(), {asio::ip::address_v4::loopback(), 0});
  std::printf("%d\n", int{acceptor.local_endpoint().port()});
  std::fflush(stdout);
  asio::co_spawn(*contexts.front(), accept(std::move(acceptor), &contexts, body), asio::detached);
  std::vector<std::jthread> others;
  for (const auto& context : contexts) {
    others.emplace_back([&context] {
      const auto work = asio::make_work_guard(*context);
      context->run();
    });
  }
}
