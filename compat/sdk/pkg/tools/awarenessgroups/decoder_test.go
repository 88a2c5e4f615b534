// SPDX-License-Identifier: Apache-2.0

package awarenessgroups_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/awarenessgroups"
)

func TestGroups(t *testing.T) {
	for text, want := range map[string][][]string{
		"":                            nil,
		"[kernel://a/if]":             {{"kernel://a/if"}},
		" [ kernel://a , memif://b ]": {{"kernel://a", "memif://b"}},
		"[kernel://a?x=1],[memif://b], [memif://c,memif://d]": {{"kernel://a?x=1"}, {"memif://b"}, {"memif://c", "memif://d"}},
	} {
		var groups awarenessgroups.Decoder
		require.NoError(t, groups.Decode(text), text)
		var got [][]string
		for _, group := range groups {
			var urls []string
			for _, u := range group {
				urls = append(urls, u.String())
			}
			got = append(got, urls)
		}
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"a", "[a", "[a]b", "[a],", "[a],,[b]", "[]", "[a,]", "[[a]]", "[a [b]", "[:bad]"} {
		var groups awarenessgroups.Decoder
		require.Error(t, groups.Decode(text), text)
		require.Nil(t, groups)
	}
}
