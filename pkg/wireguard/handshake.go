// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"
	"errors"
	"fmt"
	"time"

	wg "golang.zx2c4.com/wireguard/device"
)

// ErrClosed is wrapped by Handshake when the tunnel is closed meanwhile.
var ErrClosed = errors.New("tunnel is closed")

// firstRepeats are when the initiation is sent again while nothing answers.
//
// WireGuard makes no two initiations within five seconds, and neither do we:
// these are copies of one datagram, as a network may make them. A peer that has
// seen it drops a copy for its timestamp; one that came up a moment too late, or
// did not get the first, answers it.
var firstRepeats = []time.Duration{
	10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond,
	300 * time.Millisecond, time.Second, 2 * time.Second,
}

// Handshake makes sure that the peer is there and has the right keys: it
// returns at once if there is a session, else it initiates one and waits for it
// as long as ctx allows, while the initiation is repeated. The error says what
// to check.
//
// Only one of two peers should call it: handshakes of both that cross each
// other take five seconds longer.
func (t *Tunnel) Handshake(ctx context.Context) error {
	start := time.Now()
	repeats := firstRepeats
	initiated := false
	for {
		t.life.Lock()
		begun := t.life.begun
		t.life.Unlock()
		last, err := t.lastHandshake()
		if err != nil {
			return fmt.Errorf("wireguard handshake with %s: %w", t.config.Remote, err)
		}
		if time.Since(last) < wg.RejectAfterTime {
			return nil
		}
		if !initiated {
			if initiated, err = t.initiate(); err != nil && !errors.Is(err, errTransport) {
				return fmt.Errorf("wireguard handshake with %s: %w", t.config.Remote, err)
			}
		}
		var again <-chan time.Time
		switch {
		case !initiated:
			again = time.After(answerTime)
		case len(repeats) > 0:
			again = time.After(time.Until(start.Add(repeats[0])))
		}
		select {
		case <-begun:
		case <-again:
			if initiated {
				repeats = repeats[1:]
				t.repeatInitiation()
			}
		case <-t.Done():
			return fmt.Errorf("wireguard handshake with %s: %w", t.config.Remote, ErrClosed)
		case <-ctx.Done():
			return t.unanswered(ctx, time.Since(start))
		}
	}
}

// repeatInitiation sends a copy of the initiation that nothing has answered, unless
// the device answers one of the peer.
func (t *Tunnel) repeatInitiation() {
	t.crossing.Lock()
	busy := t.crossing.answers()
	t.crossing.Unlock()
	if !busy {
		t.transmitAgain()
	}
}

func (t *Tunnel) transmitAgain() {
	message, to := t.pendingInitiation(), t.sentTo.Load()
	if message == nil || to == nil {
		return
	}
	if err := t.transmit(to, [][]byte{message}); err != nil {
		t.logf("repeat initiation: %v", err)
	}
}

// unanswered is the error for a handshake that did not come to its end.
func (t *Tunnel) unanswered(ctx context.Context, waited time.Duration) error {
	var failed error
	if err := t.sendError.Load(); err != nil {
		failed = *err
	}
	return t.config.Unanswered(ctx, waited, failed)
}

// Unanswered is the error for a handshake that ctx ended: it says what to check.
// sendError is why datagrams could not be sent, nil if they could.
func (c *Config) Unanswered(ctx context.Context, waited time.Duration, sendError error) error {
	public, err := c.PrivateKey.Public()
	if err != nil {
		return fmt.Errorf("wireguard handshake with %s: %w", c.Remote, err)
	}
	advice := fmt.Sprintf("check that the peer listens there, that its UDP port %d and our %d pass every firewall between, "+
		"that the peer's public key is %s, and that it knows ours, %s",
		c.Remote.Port(), c.Local.Port(), c.PeerKey, public)
	if sendError != nil {
		advice = fmt.Sprintf("%s, and why this failed: %v", advice, sendError)
	}
	return fmt.Errorf("wireguard handshake with %s: no valid answer within %s: %s: %w",
		c.Remote, waited.Round(time.Millisecond), advice, context.Cause(ctx))
}
