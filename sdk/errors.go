// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code is the meaning of an error to the engine.
type Code string

// The codes. Everything that is not one of these is retried.
const (
	CodeRetryable        Code = "retryable"
	CodeNotFound         Code = "not_found"
	CodeGone             Code = "gone"
	CodeUnauthorized     Code = "unauthorized"
	CodeForbidden        Code = "forbidden"
	CodeRateLimited      Code = "rate_limited"
	CodeCursorExpired    Code = "cursor_expired"
	CodeWatermarkExpired Code = "watermark_expired"
	CodeMisconfigured    Code = "misconfigured"
	CodePermanent        Code = "permanent"
)

// Error is an error with a meaning that survives the wire. Its text is made of what may be logged (method, path template,
// status), never of values that came from a server or a record.
type Error struct {
	Code  Code
	Text  string
	After time.Duration // RateLimited: the pause that the server asks for; zero: it did not say
	Path  string        // Misconfigured: the attribute, as in "feed.appointments.since.zone"
	cause error
}

func (e *Error) Error() string {
	if e.Path != "" {
		return e.Path + ": " + e.Text
	}
	return e.Text
}

// Unwrap gives the cause, which stays in the process: it is neither sent nor printed.
func (e *Error) Unwrap() error { return e.cause }

// Because returns a copy of e with a cause for errors.Is and errors.As inside the adapter.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

func newError(code Code, format string, args []any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Retryable is an error that may pass by itself: network, overload, 5xx.
func Retryable(format string, args ...any) *Error { return newError(CodeRetryable, format, args) }

// NotFound says that the server does not know the ref (404).
func NotFound(format string, args ...any) *Error { return newError(CodeNotFound, format, args) }

// Gone says that the ref existed and was removed (410).
func Gone(format string, args ...any) *Error { return newError(CodeGone, format, args) }

// Unauthorized says that the credentials are not accepted (401).
func Unauthorized(format string, args ...any) *Error { return newError(CodeUnauthorized, format, args) }

// Forbidden says that the credentials are good and do not suffice (403).
func Forbidden(format string, args ...any) *Error { return newError(CodeForbidden, format, args) }

// RateLimited says that the server wants fewer calls (429); after is the pause it asks for, zero if it does not say.
func RateLimited(after time.Duration, format string, args ...any) *Error {
	e := newError(CodeRateLimited, format, args)
	e.After = after
	return e
}

// CursorExpired says that the window can't be continued; the engine reads it again from its watermark.
func CursorExpired(format string, args ...any) *Error {
	return newError(CodeCursorExpired, format, args)
}

// WatermarkExpired says that changes since the watermark can't all be had any more, or that the feed was reset: a gap,
// which a person has to accept.
func WatermarkExpired(format string, args ...any) *Error {
	return newError(CodeWatermarkExpired, format, args)
}

// Misconfigured blames an attribute of the source's configuration. The path is made of block types, labels and the
// attribute, joined by dots: "feed.appointments.since.zone".
func Misconfigured(path, format string, args ...any) *Error {
	e := newError(CodeMisconfigured, format, args)
	e.Path = path
	return e
}

// Permanent is an error that no repetition mends.
func Permanent(format string, args ...any) *Error { return newError(CodePermanent, format, args) }

// Safe returns err as an *Error whose text may be logged. The text of any other error is withheld, since the errors of Go's
// own packages (url.Error, time.ParseError, strconv.NumError, json's) quote the values that they could not handle; what
// stays is its type. It is nil for nil.
func Safe(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Retryable("deadline exceeded")
	case errors.Is(err, context.Canceled):
		return Retryable("canceled")
	}
	return Retryable("%T (text withheld, it may quote data; wrap it with sdk.Retryable or sdk.Permanent)", err).Because(err)
}

// CodeOf returns the code of err: that of the *Error in its chain, CodeRetryable for any other, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return Safe(err).Code
}
