// SPDX-License-Identifier: Apache-2.0

package extend_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/extend"
)

func TestLifeOfOneAndValuesOfAnother(t *testing.T) {
	type key string
	values := context.WithValue(t.Context(), key("a"), "values")
	life, cancel := context.WithCancel(context.WithValue(context.WithValue(t.Context(), key("a"), "life"), key("b"), "life"))

	one := extend.WithValuesFromContext(life, values)
	require.Equal(t, "values", one.Value(key("a")))
	require.Nil(t, one.Value(key("b")))
	both := extend.WithBothValuesFromContext(life, values)
	require.Equal(t, "values", both.Value(key("a")))
	require.Equal(t, "life", both.Value(key("b")))

	child, cancelChild := context.WithCancel(one)
	defer cancelChild()
	cancel()
	<-child.Done()
	require.ErrorIs(t, one.Err(), context.Canceled)
	require.ErrorIs(t, both.Err(), context.Canceled)
	require.NoError(t, values.Err())
}
