// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// prefix of all variables.
const prefix = "NSM"

// Load fills the struct that config points at from the environment, by the tags of
// github.com/kelseyhightower/envconfig: default, desc, split_words, envconfig. A
// config with a method Validate() error is checked by it. Errors name the variable
// and what it should look like.
func Load(config any) error {
	err := envconfig.Process(prefix, config)
	var parse *envconfig.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("read %s=%q: want a value of type %s: %w", parse.KeyName, parse.Value, parse.TypeName, parse.Err)
	}
	if err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	if v, ok := config.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("check the environment: %w", err)
		}
	}
	return nil
}

const usageFormat = `Environment:
{{range .}}
  {{usage_key .}}  {{usage_type .}}{{if usage_default .}} ({{usage_default .}}){{end}}
      {{usage_description .}}
{{end}}`

// Usage lists the variables that Load reads into config, with types, defaults and
// meanings, in the order of its fields.
func Usage(config any) string {
	var text strings.Builder
	if err := envconfig.Usagef(prefix, config, &text, usageFormat); err != nil {
		// The struct is of this program, not of its user.
		panic(fmt.Sprintf("describe the environment: %v", err))
	}
	return text.String()
}
