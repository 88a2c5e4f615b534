// SPDX-License-Identifier: Apache-2.0

package ippool_test

import (
	"fmt"
	"math/rand"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/ippool"
)

func TestPullGivesTheLowest(t *testing.T) {
	pool := ippool.NewWithNetString("10.0.0.0/30")
	for _, want := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"} {
		ip, err := pool.Pull()
		require.NoError(t, err)
		require.Equal(t, want, ip.String())
	}
	_, err := pool.Pull()
	require.Error(t, err)
	require.True(t, pool.Empty())

	pool.AddString("10.0.0.2/32")
	ip, err := pool.Pull()
	require.NoError(t, err)
	require.Equal(t, "10.0.0.2", ip.String())
}

func TestPullP2PAddrs(t *testing.T) {
	for _, c := range []struct {
		name, net   string
		excluded    []string
		first, next string
	}{
		{"IPv4 /31", "172.16.1.100/31", nil, "172.16.1.100/32", "172.16.1.101/32"},
		{"IPv6 /116", "2001:db8::/116", nil, "2001:db8::/128", "2001:db8::1/128"},
		{"exclusion in the middle", "10.0.0.0/29", []string{"10.0.0.0/31", "10.0.0.3/32"}, "10.0.0.2/32", "10.0.0.4/32"},
		{"exclusion of the other family", "10.0.0.0/31", []string{"::/0"}, "10.0.0.0/32", "10.0.0.1/32"},
		{"one address", "10.0.0.0/32", nil, "", ""},
		{"all but one excluded", "10.0.0.0/30", []string{"10.0.0.0/31", "10.0.0.2/32"}, "", ""},
		{"everything excluded", "10.0.0.0/30", []string{"0.0.0.0/0"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := ippool.NewWithNetString(c.net)
			excluded4, excluded6 := ippool.New(net.IPv4len), ippool.New(net.IPv6len)
			for _, e := range c.excluded {
				excluded4.AddNetString(e)
				excluded6.AddNetString(e)
			}
			before := pool.GetPrefixes()
			first, next, err := pool.PullP2PAddrs(excluded4, excluded6)
			if c.first == "" {
				require.Error(t, err)
				require.Equal(t, before, pool.GetPrefixes(), "a failed pull takes nothing")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.first, first.String())
			require.Equal(t, c.next, next.String())
		})
	}
}

func TestPullIP(t *testing.T) {
	pool := ippool.NewWithNetString("10.0.0.0/24")
	ipNet, err := pool.PullIPString("10.0.0.7/32")
	require.NoError(t, err)
	require.Equal(t, "10.0.0.7/32", ipNet.String())

	excluded := ippool.NewWithNetString("10.0.0.8/32")
	for _, in := range []string{"10.0.0.7", "10.0.1.0", "2001::1", "10.0.0.x", ""} {
		_, err = pool.PullIPString(in, excluded)
		require.Error(t, err, in)
	}
	_, err = pool.PullIPString("10.0.0.8", excluded)
	require.Error(t, err)
	require.True(t, pool.ContainsString("10.0.0.8"), "an excluded address stays in the pool")
	_, err = pool.PullIPString("10.0.0.8")
	require.NoError(t, err)
}

func TestPrefixesRoundTrip(t *testing.T) {
	for _, c := range []struct {
		add, exclude []string
		want         []string
	}{
		{[]string{"10.0.0.0/24"}, []string{"10.0.0.128/25"}, []string{"10.0.0.0/25"}},
		{[]string{"10.0.0.0/25", "10.0.0.128/25"}, nil, []string{"10.0.0.0/24"}},
		{[]string{"0.0.0.0/0"}, []string{"0.0.0.0/1"}, []string{"128.0.0.0/1"}},
		{[]string{"0.0.0.0/0"}, nil, []string{"0.0.0.0/0"}},
		{[]string{"::/0"}, nil, []string{"::/0"}},
		{[]string{"10.0.0.0/29"}, []string{"10.0.0.3/32"}, []string{"10.0.0.0/31", "10.0.0.2/32", "10.0.0.4/30"}},
		{[]string{"fd00::/126", "10.0.0.0/32"}, []string{"fd00::/127"}, []string{"10.0.0.0/32", "fd00::2/127"}},
	} {
		pool, err := ippool.NewPool(c.add...)
		require.NoError(t, err)
		require.NoError(t, pool.ExcludePrefixes(c.exclude...))
		require.Equal(t, c.want, pool.GetPrefixes())
	}
	_, err := ippool.NewPool("10.0.0.0/33")
	require.Error(t, err)
}

// TestAgainstMap does the same random operations on a pool and on a plain set.
func TestAgainstMap(t *testing.T) {
	r := rand.New(rand.NewSource(1)) //nolint:gosec // the same every time
	pool := ippool.New(net.IPv4len)
	set := map[int]bool{}
	ip := func(i int) net.IP { return net.IPv4(10, 0, 0, byte(i)) }
	for range 5000 {
		bits := 24 + r.Intn(9)
		size := 1 << (32 - bits)
		base := r.Intn(256) / size * size
		ipNet := &net.IPNet{IP: ip(base).To4(), Mask: net.CIDRMask(bits, 32)}
		add := r.Intn(2) == 0
		if add {
			pool.AddNet(ipNet)
		} else {
			pool.Exclude(ipNet)
		}
		all := true
		for i := base; i < base+size; i++ {
			set[i] = add
		}
		probe := r.Intn(256) / size * size
		for i := probe; i < probe+size; i++ {
			all = all && set[i]
		}
		require.Equal(t, set[probe], pool.Contains(ip(probe)))
		require.Equal(t, all, pool.ContainsNet(&net.IPNet{IP: ip(probe).To4(), Mask: ipNet.Mask}))
	}
	for i := range 256 {
		require.Equal(t, set[i], pool.Contains(ip(i)), i)
	}
}

func TestConcurrentPullsAreDistinct(t *testing.T) {
	pool := ippool.NewWithNetString("10.0.0.0/22")
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 64 {
				a, b, err := pool.PullP2PAddrs()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, n := range []*net.IPNet{a, b} {
					if seen[n.String()] {
						t.Errorf("%s given twice", n)
					}
					seen[n.String()] = true
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	require.Len(t, seen, 1024)
	require.True(t, pool.Empty())
}

func ExampleIPPool_PullP2PAddrs() {
	pool := ippool.NewWithNetString("172.16.1.100/31")
	nse, nsc, _ := pool.PullP2PAddrs()
	fmt.Println(nse, nsc)
	// Output: 172.16.1.100/32 172.16.1.101/32
}
