//go:build definitions

// Package flux has tests only. This file keeps the modules in go.mod that have the definitions of routes.
package flux

import (
	_ "istio.io/api/label"
	_ "sigs.k8s.io/gateway-api/pkg/consts"
)
