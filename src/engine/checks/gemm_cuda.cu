// holdfast-gemm-cuda SECONDS: products of matrices of small integers on every CUDA device, exact in
// single precision and verified on the host in another way (Freivalds, as engine/checks/host_load):
// silent corruption shows. Prints what every check prints (api/check_output.h). Built only where
// there is a CUDA compiler.

#include <cuda_runtime.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr int kTile = 16;
constexpr int kSize = 1024;  // entries of a product stay below 1024 * 64 < 2^24: exact
constexpr int kVectors = 20;

__global__ void multiply(const float* a, const float* b, float* c, int n) {
  __shared__ float left[kTile][kTile];
  __shared__ float right[kTile][kTile];
  const int row = blockIdx.y * kTile + threadIdx.y;
  const int column = blockIdx.x * kTile + threadIdx.x;
  float sum = 0;
  for (int tile = 0; tile < n / kTile; ++tile) {
    left[threadIdx.y][threadIdx.x] = a[row * n + tile * kTile + threadIdx.x];
    right[threadIdx.y][threadIdx.x] = b[(tile * kTile + threadIdx.y) * n + column];
    __syncthreads();
    for (int k = 0; k < kTile; ++k) sum += left[threadIdx.y][k] * right[k][threadIdx.x];
    __syncthreads();
  }
  c[row * n + column] = sum;
}

std::uint64_t next(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

bool verify(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c,
            std::uint64_t& seed) {
  constexpr int n = kSize;
  std::vector<double> x(n), bx(n);
  for (int round = 0; round < kVectors; ++round) {
    for (double& entry : x) entry = static_cast<double>(next(seed) & 1);
    for (int i = 0; i < n; ++i) {
      bx[i] = 0;
      for (int j = 0; j < n; ++j) bx[i] += static_cast<double>(b[i * n + j]) * x[j];
    }
    for (int i = 0; i < n; ++i) {
      double product = 0, other_way = 0;
      for (int j = 0; j < n; ++j) {
        product += static_cast<double>(c[i * n + j]) * x[j];
        other_way += static_cast<double>(a[i * n + j]) * bx[j];
      }
      if (product != other_way) return false;
    }
  }
  return true;
}

// Empty: all products of the device were right.
std::string load_device(int device, double seconds, double& gflops) {
  constexpr int n = kSize;
  constexpr std::size_t bytes = sizeof(float) * n * n;
  std::uint64_t seed = 20251125 + device;
  std::vector<float> a(n * n), b(n * n), c(n * n);
  for (float& entry : a) entry = static_cast<float>(next(seed) % 17) - 8;
  for (float& entry : b) entry = static_cast<float>(next(seed) % 17) - 8;
  float *da = nullptr, *db = nullptr, *dc = nullptr;
  if (cudaSetDevice(device) != cudaSuccess || cudaMalloc(&da, bytes) != cudaSuccess ||
      cudaMalloc(&db, bytes) != cudaSuccess || cudaMalloc(&dc, bytes) != cudaSuccess ||
      cudaMemcpy(da, a.data(), bytes, cudaMemcpyHostToDevice) != cudaSuccess ||
      cudaMemcpy(db, b.data(), bytes, cudaMemcpyHostToDevice) != cudaSuccess)
    return std::string("cannot use the device: ") + cudaGetErrorString(cudaGetLastError());
  const auto began = std::chrono::steady_clock::now();
  double busy = 0;
  std::uint64_t products = 0;
  do {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 50; ++i)
      multiply<<<dim3(n / kTile, n / kTile), dim3(kTile, kTile)>>>(da, db, dc, n);
    if (cudaDeviceSynchronize() != cudaSuccess)
      return std::string("a kernel failed: ") + cudaGetErrorString(cudaGetLastError());
    busy += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    products += 50;
    if (cudaMemcpy(c.data(), dc, bytes, cudaMemcpyDeviceToHost) != cudaSuccess)
      return std::string("cannot copy back: ") + cudaGetErrorString(cudaGetLastError());
    if (!verify(a, b, c, seed)) return "a product of matrices is wrong";
  } while (std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() <
           seconds);
  cudaFree(da);
  cudaFree(db);
  cudaFree(dc);
  gflops = static_cast<double>(products) * 2 * n * n * n / busy / 1e9;
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("{\"verdict\": \"Skipped\", \"reason\": \"no CUDA device\"}\n");
    return 0;
  }
  std::string results;
  for (int device = 0; device < devices; ++device) {
    double gflops = 0;
    const std::string wrong = load_device(device, seconds, gflops);
    const std::string name = "accelerator_gemm_" + std::to_string(device);
    results += (device == 0 ? "" : ", ") + ("{\"test\": \"" + name + "\", ");
    results += wrong.empty()
                   ? "\"value\": " + std::to_string(gflops) + ", \"unit\": \"GFLOP/s\"}"
                   : "\"verdict\": \"Failed\", \"action\": \"replace\", \"reason\": \"" + wrong + "\"}";
  }
  std::printf("{\"results\": [%s]}\n", results.c_str());
  return 0;
}
