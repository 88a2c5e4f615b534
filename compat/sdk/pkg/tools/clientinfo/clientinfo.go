// SPDX-License-Identifier: Apache-2.0

// Package clientinfo says where a client runs, by labels.
package clientinfo

import (
	"context"
	"os"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

var sources = []struct{ label, env string }{
	{"nodeName", "NODE_NAME"},
	{"podName", "POD_NAME"},
	{"clusterName", "CLUSTER_NAME"},
}

// AddClientInfo adds the labels nodeName, podName and clusterName from the
// environment variables NODE_NAME, POD_NAME and CLUSTER_NAME. Labels that are
// there already stay as they are.
func AddClientInfo(ctx context.Context, labels map[string]string) {
	for _, s := range sources {
		value, ok := os.LookupEnv(s.env)
		if !ok {
			continue
		}
		if old, taken := labels[s.label]; taken {
			if old != value {
				log.FromContext(ctx).Debugf("label %s=%s stays, %s is %s", s.label, old, s.env, value)
			}
			continue
		}
		labels[s.label] = value
	}
}
