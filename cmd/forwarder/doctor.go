// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newDoctor() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Hidden: true,
		RunE: func(*cobra.Command, []string) error { return errors.New("soon") },
	}
}
