// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Client is the engine that runs on a state, reached through its admin socket.
type Client struct{ http *http.Client }

var _ Engine = (*Client)(nil)

// Dial reaches the engine that runs on the state in a directory. The error is ErrNotRunning when none does.
func Dial(ctx context.Context, stateDir string) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, release, err := socketPath(stateDir)
		if err != nil {
			return nil, err
		}
		defer release()
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	conn, err := dial(ctx, "", "")
	switch {
	case err == nil:
		_ = conn.Close() // it was only to see that somebody answers
	case notListening(err):
		return nil, &Error{ErrNotRunning, "no engine is running on the state in " + stateDir}
	default:
		return nil, fmt.Errorf("the admin socket of the engine on %s can't be reached: %w", stateDir, err)
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// post sends a call; the body of the answer, which is a good one, is the caller's to close.
func (c *Client) post(ctx context.Context, name string, in any) (*http.Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, &Error{ErrInvalid, "this can't be asked: it is not valid JSON"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/v1/"+name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{ErrNotRunning, "the engine ended before it answered"}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as it is wanted
	var f failure
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&f); err != nil {
		return nil, fmt.Errorf("the engine answered %s: is it of another version?", resp.Status)
	}
	return nil, &Error{kinds[f.Kind].err, f.Text}
}

func call[Out any](ctx context.Context, c *Client, name string, in any) (out Out, err error) {
	resp, err := c.post(ctx, name, in)
	if err != nil {
		return out, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, &Error{ErrNotRunning, "the engine ended before it answered"}
	}
	return out, nil
}

func do(ctx context.Context, c *Client, name string, in any) error {
	_, err := call[nothing](ctx, c, name, in)
	return err
}

// Status implements Engine.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return call[*Status](ctx, c, "status", nothing{})
}

// Pause implements Engine.
func (c *Client) Pause(ctx context.Context, t Target, why string) error {
	return do(ctx, c, "pause", pause{t, why})
}

// Resume implements Engine.
func (c *Client) Resume(ctx context.Context, t Target) error { return do(ctx, c, "resume", t) }

// Poll implements Engine.
func (c *Client) Poll(ctx context.Context, pipeline string) (*Polled, error) {
	return call[*Polled](ctx, c, "poll", named{pipeline})
}

// Position implements Engine.
func (c *Client) Position(ctx context.Context, pipeline string) (*Position, error) {
	return call[*Position](ctx, c, "position", named{pipeline})
}

// SetPosition implements Engine.
func (c *Client) SetPosition(ctx context.Context, pipeline string, start time.Time) error {
	return do(ctx, c, "set-position", position{pipeline, start})
}

// Dead implements Engine.
func (c *Client) Dead(ctx context.Context, f Filter, p Page) (*DeadList, error) {
	return call[*DeadList](ctx, c, "dead", list{f, p})
}

// DeadLetter implements Engine.
func (c *Client) DeadLetter(ctx context.Context, id string) (*DeadContent, error) {
	return call[*DeadContent](ctx, c, "dead-letter", one{ID: id})
}

// Retry implements Engine.
func (c *Client) Retry(ctx context.Context, id string, force bool) (*Retried, error) {
	return call[*Retried](ctx, c, "retry", one{id, force})
}

// Discard implements Engine.
func (c *Client) Discard(ctx context.Context, id string) error {
	return do(ctx, c, "discard", one{ID: id})
}

// Notifications implements Engine.
func (c *Client) Notifications(ctx context.Context, f Filter, p Page) (*NotificationList, error) {
	return call[*NotificationList](ctx, c, "notifications", list{f, p})
}

// Notification implements Engine.
func (c *Client) Notification(ctx context.Context, id string) (*NotificationContent, error) {
	return call[*NotificationContent](ctx, c, "notification", one{ID: id})
}

// Replay implements Engine.
func (c *Client) Replay(ctx context.Context, r Replay) (*Replayed, error) {
	return call[*Replayed](ctx, c, "replay", r)
}

// Trace implements Engine.
func (c *Client) Trace(ctx context.Context, r Record) (*TraceContent, error) {
	return call[*TraceContent](ctx, c, "trace", r)
}

// Try implements Engine.
func (c *Client) Try(ctx context.Context, t Trial) (*TriedContent, error) {
	return call[*TriedContent](ctx, c, "try", t)
}

// Adapters implements Engine.
func (c *Client) Adapters(ctx context.Context) ([]Adapter, error) {
	return call[[]Adapter](ctx, c, "adapters", nothing{})
}

// Reload implements Engine.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	return call[*Reloaded](ctx, c, "reload", nothing{})
}

// OpenPage implements Engine.
func (c *Client) OpenPage(ctx context.Context) (*Link, error) {
	return call[*Link](ctx, c, "open-page", nothing{})
}

// Backup implements Engine. What was written when it fails is not whole.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	resp, err := c.post(ctx, "backup", nothing{})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the backup is not whole: %w", err)
	}
	if said := resp.Trailer.Get(backupTrailer); said != backupWhole {
		if said == "" {
			said = "the engine ended"
		}
		return errors.New("the backup is not whole: " + said)
	}
	return nil
}
