#pragma once

#include <string>
#include <string_view>

#include "api/hyperpod/request.h"
#include "apps/clusters.h"
#include "apps/front_door.h"

namespace holdfast {

// Carries out the operations of HyperPod's API on the clusters of this server. Any thread; waits
// for the journal of the cluster that a change is for.
class HyperpodApi {
 public:
  HyperpodApi(Clusters& clusters, hyperpod::Site site)
      : clusters_(clusters), site_(std::move(site)) {}

  // `operation`: "DescribeCluster". The caller may do what it asks for.
  [[nodiscard]] HttpResponse answer(const Caller& caller, std::string_view operation,
                                    const std::string& body);

 private:
  using Handle = Clusters::Handle;
  HttpResponse answer(const Caller& caller, const hyperpod::request::CreateCluster& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::UpdateCluster& request);
  HttpResponse answer(const Caller& caller,
                      const hyperpod::request::UpdateClusterSoftware& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::DeleteCluster& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::DescribeCluster& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::ListClusters& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::DescribeClusterNode& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::ListClusterNodes& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::DescribeClusterEvent& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::ListClusterEvents& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::BatchAddClusterNodes& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::BatchNodes& request);
  HttpResponse answer(const Caller& caller,
                      const hyperpod::request::StartClusterHealthCheck& request);
  HttpResponse answer(const Caller& caller,
                      const hyperpod::request::ListClusterOperations& request);
  HttpResponse answer(const Caller& caller,
                      const hyperpod::request::DescribeClusterOperation& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::MoveClusterNodes& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::Tags& request);
  HttpResponse answer(const Caller& caller, const hyperpod::request::Governance& request);

  [[nodiscard]] Handle find(const hyperpod::ClusterRef& ref) const;
  [[nodiscard]] HttpResponse no_cluster(const hyperpod::ClusterRef& ref) const;
  [[nodiscard]] HttpResponse arn_of(const ClusterServer& cluster) const;
  // Of an accepted change, or why it was not.
  [[nodiscard]] HttpResponse arn_or_error(const ClusterServer& cluster,
                                          const Result<void>& accepted) const;
  // The id of its cluster, or empty. `kind`: as in its ARN; empty: any.
  [[nodiscard]] std::string holder_of(const std::string& governance_id,
                                      std::string_view kind = {}) const;
  static void keep_tags(ClusterServer& cluster, const GovernanceChange& change,
                        const nlohmann::json& body, const Caller& caller);

  Clusters& clusters_;
  const hyperpod::Site site_;
};

}  // namespace holdfast
