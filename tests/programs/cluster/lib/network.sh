# The cluster's network: a namespace in which all of it runs, and from which no packet gets out.

node_address=10.88.0.1
service_range=10.96.0.0/12
api_service_address=10.96.0.1
pod_range=10.244.0.0/16

make_network() {
  ip netns add "$netns"
  local inside=(ip -n "$netns")
  "${inside[@]}" link set lo up
  # The node's address must not be loopback; a pair with both ends in here leads nowhere else.
  "${inside[@]}" link add node0 type veth peer name node1
  "${inside[@]}" addr add "$node_address/24" dev node0
  "${inside[@]}" link set node0 up
  "${inside[@]}" link set node1 up
  # kube-proxy rewrites packets to Services on output, after a route was found for them.
  "${inside[@]}" route add "$service_range" dev node0
  # Elsewhere fails at once instead of timing out.
  "${inside[@]}" route add unreachable default
  # Clients that open a connection for each request should not run out of ports: more of them, and
  # those of closed connections again after a second. kube-proxy lets them come from ports of its
  # choice, which the server may remember of another connection; it takes that for the new one only if
  # its clock is ahead, so connections need one clock (2) and not one each (1). Otherwise some take a
  # second more, and some of those another one.
  in_network sh -c 'cd /proc/sys/net/ipv4
    echo 1 >ip_forward
    echo 16384 65000 >ip_local_port_range
    echo 1 >tcp_tw_reuse
    echo 2 >tcp_timestamps'
}

# ip netns exec would mount another /sys, without the cgroups the kubelet looks for.
in_network() {
  nsenter --net="/run/netns/$netns" -- "$@"
}
