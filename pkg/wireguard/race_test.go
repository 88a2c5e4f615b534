// SPDX-License-Identifier: Apache-2.0

//go:build race

package wireguard

func init() { raceDetector = true }
