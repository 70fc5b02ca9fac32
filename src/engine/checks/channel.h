#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/time.h"

namespace holdfast {

// A TCP connection of two checks that measure together. Every call ends: with kUnavailable when the
// other side moves nothing for `patience` or closes it. Closed by the destructor.
class Channel {
 public:
  Channel() = default;
  ~Channel();
  Channel(Channel&& other) noexcept : fd_(other.fd_), patience_(other.patience_) { other.fd_ = -1; }
  Channel& operator=(Channel&& other) noexcept;

  // Tries again until it is accepted, for up to `within`: the other side may start later.
  [[nodiscard]] static Result<Channel> connect(const std::string& address, std::uint16_t port,
                                               Duration within, Duration patience);

  [[nodiscard]] Result<void> send(const void* bytes, std::size_t size);
  // Exactly `size` bytes.
  [[nodiscard]] Result<void> receive(void* bytes, std::size_t size);

  // Without waiting, as far as it goes: bytes moved; 0: not now.
  [[nodiscard]] Result<std::size_t> send_some(const void* bytes, std::size_t size);
  [[nodiscard]] Result<std::size_t> receive_some(void* bytes, std::size_t size);

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

 private:
  friend class Listener;
  Channel(int fd, Duration patience);
  [[nodiscard]] Result<void> wait(short events);

  int fd_ = -1;
  Duration patience_;
};

class Listener {
 public:
  // kPortInUse, kIo.
  [[nodiscard]] static Result<Listener> open(const std::string& address, std::uint16_t port);
  ~Listener();
  Listener(Listener&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // kUnavailable: nobody came within the time.
  [[nodiscard]] Result<Channel> accept(Duration within, Duration patience);
  [[nodiscard]] std::uint16_t port() const;

 private:
  explicit Listener(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace holdfast
