#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "model/readings.h"

namespace holdfast {

// NVIDIA's management library, loaded where it is installed. Each call goes into the driver and may
// hang there for good: call it from a process that may be given up (`holdfast probe`), never from
// the agent's own.
class Nvml {
 public:
  // The name under which a driver installs it.
  static constexpr const char* kLibrary = "libnvidia-ml.so.1";

  // `library`: a name or a path. kNotFound: there is none, which is no fault of the machine.
  static Result<Nvml> load(const std::string& library);
  Nvml(Nvml&&) noexcept;
  Nvml& operator=(Nvml&&) noexcept;
  ~Nvml();

  // Everything that the library tells, now. What it cannot tell is empty; what fails as a whole is
  // in the reading's `error`. Initializes the library each time that it is not: a driver may be
  // loaded anew while we live.
  [[nodiscard]] DevicesReading read();

 private:
  struct Functions;
  explicit Nvml(std::unique_ptr<Functions> functions);
  void read_device(DeviceReading& device, void* handle) const;
  void read_links(DeviceReading& device, void* handle) const;

  std::unique_ptr<Functions> functions_;
  bool initialized_ = false;
};

}  // namespace holdfast
