// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/rounds-engine/rounds/sdk/proto"
	"github.com/rounds-engine/rounds/sdk/rawjson"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// This file converts between the types of the contract and their wire form, both ways, and is the only place that does. What
// one end could get wrong is put right here: an error leaves an adapter through Safe, a record that can't be carried or is no
// JSON becomes an error of its own and leaves the others of its page alone.

// MaxMessage bounds a call and its answer, in bytes.
const MaxMessage = 256 << 20

// ModestAnswer bounds the answer to a call whose context is Modest.
const ModestAnswer = 16 << 20

// ErrTooLarge is in the chain of an error of Client about a call or an answer that is too large to be made or read.
var ErrTooLarge = errors.New("larger than allowed")

// maxText bounds the text of an error, which travels in a header, of a remark, and of a name that is shown. maxNotes bounds the remarks
// of a page. An adapter that was written without this package may send more.
const (
	maxText  = 2000
	maxNotes = 20
)

// ErrNoAnswer is in the chain of an error of Client that the connection made and not the adapter.
var ErrNoAnswer = errors.New("no answer from the adapter")

// Errors.

func errorToWire(err error) *pb.Error {
	if err == nil {
		return nil
	}
	e := Safe(err)
	if e == nil { // the trap of a nil pointer in an interface
		e = Permanent("the adapter returned a nil *sdk.Error where it should return nil")
	}
	return &pb.Error{Code: string(e.Code), Text: cut(e.Text), After: durationToWire(e.After), Path: valid(e.Path)}
}

func errorFromWire(e *pb.Error) error {
	if e == nil {
		return nil
	}
	code := Code(e.GetCode())
	switch code {
	case CodeRetryable, CodeNotFound, CodeGone, CodeUnauthorized, CodeForbidden, CodeRateLimited, CodeCursorExpired,
		CodeWatermarkExpired, CodeMisconfigured, CodePermanent:
	default:
		code = CodeRetryable
	}
	return &Error{Code: code, Text: cut(e.GetText()), After: e.GetAfter().AsDuration(), Path: cut(e.GetPath())}
}

// statusToWire is the form of an error that a call returns.
func statusToWire(err error) error {
	if err == nil {
		return nil
	}
	e := errorToWire(err)
	s, failed := status.New(codes.Unknown, e.Code).WithDetails(e)
	if failed != nil { // only a message that can't be encoded does that, and this one's strings are valid
		return status.Error(codes.Internal, "the error could not be encoded")
	}
	return s.Err()
}

// statusFromWire gives back the error that the adapter returned. An error of the transport gets a text of its own, since
// gRPC's may quote anything.
func statusFromWire(ctx context.Context, call string, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if e, ok := detail.(*pb.Error); ok {
			return errorFromWire(e)
		}
	}
	switch s.Code() {
	case codes.DeadlineExceeded:
		return Retryable("%s: deadline exceeded, the adapter did not answer", call).
			Because(errors.Join(ErrNoAnswer, context.DeadlineExceeded))
	case codes.Canceled:
		if ctx.Err() == nil { // not by the caller
			break
		}
		return Retryable("%s: canceled", call).Because(errors.Join(ErrNoAnswer, context.Canceled))
	case codes.ResourceExhausted:
		most := MaxMessage
		if isModest(ctx) {
			most = ModestAnswer
		}
		return Permanent("%s: the call or its answer is larger than %d MiB; ask for less at a time", call, most>>20).Because(ErrTooLarge)
	case codes.Unimplemented:
		return Permanent("%s: the adapter does not know this call", call)
	case codes.Internal:
		return Retryable("%s: the answer could not be read (%s)", call, s.Code()).Because(ErrNoAnswer)
	case codes.Unavailable:
	default:
		return Retryable("%s: the adapter failed and did not say how: status %s without an Error in its details", call, s.Code())
	}
	return Retryable("%s: the adapter's process ended", call).Because(ErrNoAnswer)
}

// Queries and pages.

func queryToWire(handle uint64, q Query) *pb.PollRequest {
	return &pb.PollRequest{
		Handle:    handle,
		Feed:      valid(q.Feed),
		Watermark: q.Watermark,
		Cursor:    q.Cursor,
		Start:     timeToWire(q.Start.At),
		Overlap:   durationToWire(q.Overlap),
		Limit:     int64(q.Limit),
		Recover:   q.Recover,
		Peek:      q.Peek,
	}
}

func queryFromWire(r *pb.PollRequest) Query {
	return Query{
		Feed:      r.GetFeed(),
		Watermark: r.GetWatermark(),
		Cursor:    r.GetCursor(),
		Start:     Start{At: timeFromWire(r.GetStart())},
		Overlap:   r.GetOverlap().AsDuration(),
		Limit:     int(r.GetLimit()),
		Recover:   r.GetRecover(),
		Peek:      r.GetPeek(),
	}
}

func pageToWire(p Page) *pb.PollResponse {
	r := &pb.PollResponse{
		Changes:   make([]*pb.Change, len(p.Changes)),
		Included:  resultsToWire(p.Included),
		Cursor:    p.Cursor,
		Watermark: p.Watermark,
		Ack:       p.Ack,
		Complete:  p.Complete,
		Now:       timeToWire(p.Now),
		Wait:      durationToWire(p.Wait),
		Calls:     int64(p.Calls),
	}
	for i := range p.Changes {
		r.Changes[i] = changeToWire(&p.Changes[i])
	}
	for _, n := range p.Notes {
		r.Notes = append(r.Notes, &pb.Note{Code: valid(n.Code), Text: valid(n.Text)})
	}
	return r
}

func pageFromWire(r *pb.PollResponse) Page {
	p := Page{
		Changes:   make([]Change, len(r.GetChanges())),
		Included:  resultsFromWire(r.GetIncluded()),
		Cursor:    r.GetCursor(),
		Watermark: r.GetWatermark(),
		Ack:       r.GetAck(),
		Complete:  r.GetComplete(),
		Now:       timeFromWire(r.GetNow()),
		Wait:      r.GetWait().AsDuration(),
		Calls:     int(r.GetCalls()),
	}
	for i, c := range r.GetChanges() {
		p.Changes[i] = changeFromWire(c)
	}
	for _, n := range r.GetNotes()[:min(len(r.GetNotes()), maxNotes)] {
		p.Notes = append(p.Notes, Note{Code: cut(n.GetCode()), Text: cut(n.GetText())})
	}
	return p
}

// ops holds the operations by their number on the wire.
var ops = [...]Op{pb.Op_OP_UPSERT: Upsert, pb.Op_OP_CREATED: Created, pb.Op_OP_UPDATED: Updated, pb.Op_OP_DELETED: Deleted}

func changeToWire(c *Change) *pb.Change {
	w := &pb.Change{
		Ref:     refToWire(c.Ref),
		Version: valid(c.Version),
		Event:   valid(c.Event),
		Actor:   valid(c.Actor),
		Time:    timeToWire(c.Time),
		Data:    c.Data,
	}
	err := c.Err
	if err == nil {
		err = carriable(c.Ref, c.Version)
	}
	switch c.Op {
	case Upsert, "":
		w.Op = pb.Op_OP_UPSERT
	case Created:
		w.Op = pb.Op_OP_CREATED
	case Updated:
		w.Op = pb.Op_OP_UPDATED
	case Deleted:
		w.Op = pb.Op_OP_DELETED
	default:
		if err == nil {
			err = Permanent("the adapter gave an operation that there is not")
		}
	}
	w.Error = errorToWire(err)
	return w
}

func changeFromWire(w *pb.Change) Change {
	c := Change{
		Ref:     refFromWire(w.GetRef()),
		Version: w.GetVersion(),
		Op:      Upsert,
		Event:   w.GetEvent(),
		Actor:   w.GetActor(),
		Time:    timeFromWire(w.GetTime()),
		Err:     errorFromWire(w.GetError()),
	}
	if op := w.GetOp(); op > 0 && int(op) < len(ops) {
		c.Op = ops[op]
	}
	if c.Err == nil && !isTime(w.GetTime()) {
		c.Err = Permanent("the adapter gave a time that there is not")
	}
	c.Data, c.Err = dataFromWire(w.GetData(), c.Err)
	return c
}

// Refs and results.

func refToWire(r Ref) *pb.Ref {
	return &pb.Ref{Kind: valid(r.Kind), Id: valid(r.ID), Args: valid(r.Args)}
}

func refFromWire(r *pb.Ref) Ref { return Ref{Kind: r.GetKind(), ID: r.GetId(), Args: r.GetArgs()} }

func refsToWire(refs []Ref) []*pb.Ref {
	w := make([]*pb.Ref, len(refs))
	for i, r := range refs {
		w[i] = refToWire(r)
	}
	return w
}

func refsFromWire(w []*pb.Ref) []Ref {
	refs := make([]Ref, len(w))
	for i, r := range w {
		refs[i] = refFromWire(r)
	}
	return refs
}

func resultsToWire(results []Result) []*pb.Result {
	w := make([]*pb.Result, len(results))
	for i := range results {
		r := &results[i]
		err := r.Err
		if err == nil {
			err = carriable(r.Ref, r.Version)
		}
		w[i] = &pb.Result{Ref: refToWire(r.Ref), Version: valid(r.Version), Data: r.Data, Error: errorToWire(err)}
	}
	return w
}

func resultsFromWire(w []*pb.Result) []Result {
	if len(w) == 0 {
		return nil
	}
	results := make([]Result, len(w))
	for i, r := range w {
		results[i] = Result{Ref: refFromWire(r.GetRef()), Version: r.GetVersion(), Err: errorFromWire(r.GetError())}
		results[i].Data, results[i].Err = dataFromWire(r.GetData(), results[i].Err)
	}
	return results
}

// matches checks what Fetch promises: a result for each ref, in the order of the refs. A patient who got another's record
// would be worse than none.
func matches(refs []Ref, results []Result) error {
	if len(results) != len(refs) {
		return Permanent("Fetch: the adapter gave %d results for %d refs", len(results), len(refs))
	}
	for i := range refs {
		if results[i].Ref != refs[i] {
			return Permanent("Fetch: the adapter gave results that are not in the order of the refs")
		}
	}
	return nil
}

// carriable is nil when the strings that identify a record are UTF-8, as the wire has no other. They can't be mended: two
// identifiers could become one.
func carriable(r Ref, version string) error {
	if utf8.ValidString(r.Kind) && utf8.ValidString(r.ID) && utf8.ValidString(r.Args) && utf8.ValidString(version) {
		return nil
	}
	return Permanent("the identifier or the version of the record is not UTF-8")
}

// dataFromWire lets only valid JSON into the engine.
func dataFromWire(data []byte, err error) (json.RawMessage, error) {
	if len(data) == 0 {
		return nil, err
	}
	if !rawjson.Valid(data) {
		if err == nil {
			err = Permanent("the adapter gave data that are not valid JSON")
		}
		return nil, err
	}
	return data, err
}

// Descriptions.

func infoToWire(i Info) *pb.Info {
	w := &pb.Info{Name: valid(i.Name), Version: valid(i.Version), Doc: valid(i.Doc)}
	w.Feeds, w.Resources = catalogToWire(Catalog{i.Feeds, i.Resources})
	for _, l := range i.Limits {
		w.Limits = append(w.Limits, &pb.Limit{Calls: int64(l.Calls), Per: durationToWire(l.Per), Doc: valid(l.Doc)})
	}
	return w
}

func infoFromWire(w *pb.Info) (Info, error) {
	i := Info{Name: w.GetName(), Version: w.GetVersion(), Doc: w.GetDoc()}
	c, err := catalogFromWire(w.GetFeeds(), w.GetResources())
	i.Feeds, i.Resources = c.Feeds, c.Resources
	for _, l := range w.GetLimits() {
		i.Limits = append(i.Limits, Limit{Calls: int(l.GetCalls()), Per: l.GetPer().AsDuration(), Doc: l.GetDoc()})
	}
	return i, err
}

func catalogToWire(c Catalog) (feeds []*pb.Feed, resources []*pb.Resource) {
	for _, f := range c.Feeds {
		feed := &pb.Feed{
			Name: valid(f.Name), Kind: valid(f.Kind), Class: valid(string(f.Class)), Version: valid(string(f.Version)),
			Precision: durationToWire(f.Precision), History: f.History, Deletes: f.Deletes, Drifts: f.Drifts, Peeks: f.Peeks, Why: valid(f.Why),
		}
		for _, path := range f.Ignore {
			feed.Ignore = append(feed.Ignore, valid(path))
		}
		feeds = append(feeds, feed)
	}
	for _, r := range c.Resources {
		resources = append(resources, &pb.Resource{Name: valid(r.Name), Batch: int64(r.Batch), Why: valid(r.Why)})
	}
	return feeds, resources
}

// catalogFromWire refuses a catalog that the engine could only misunderstand.
func catalogFromWire(offered []*pb.Feed, fetchable []*pb.Resource) (Catalog, error) {
	var c Catalog
	feeds, resources := map[string]bool{}, map[string]bool{}
	for _, f := range offered {
		feed := Feed{
			Name: f.GetName(), Kind: f.GetKind(), Class: Class(f.GetClass()), Version: VersionKind(f.GetVersion()),
			Precision: f.GetPrecision().AsDuration(), History: f.GetHistory(), Deletes: f.GetDeletes(), Drifts: f.GetDrifts(),
			Peeks: f.GetPeeks(), Why: f.GetWhy(), Ignore: f.GetIgnore(),
		}
		switch feed.Class {
		case Timestamp, Sequence, Scan, Queue:
		default:
			return c, Permanent("the adapter's catalog gives feed %q a class that there is not", cut(feed.Name))
		}
		switch feed.Version {
		case Exact, Coarse, None:
		default:
			return c, Permanent("the adapter's catalog gives feed %q a kind of version that there is not", cut(feed.Name))
		}
		if feed.Name == "" || feeds[feed.Name] {
			return c, Permanent("the adapter's catalog has a feed without a name, or two of one name: %q", cut(feed.Name))
		}
		feeds[feed.Name] = true
		c.Feeds = append(c.Feeds, feed)
	}
	for _, r := range fetchable {
		if r.GetName() == "" || resources[r.GetName()] {
			return c, Permanent("the adapter's catalog has a resource without a name, or two of one name: %q", cut(r.GetName()))
		}
		resources[r.GetName()] = true
		c.Resources = append(c.Resources, Resource{Name: r.GetName(), Batch: int(r.GetBatch()), Why: r.GetWhy()})
	}
	return c, nil
}

func schemaToWire(s schema.Schema) *pb.Schema {
	w := &pb.Schema{Doc: valid(s.Doc)}
	for _, a := range s.Attributes {
		w.Attributes = append(w.Attributes, &pb.Attribute{
			Name: a.Name, Type: string(a.Type), Required: a.Required, Sensitive: a.Sensitive, Doc: valid(a.Doc),
			Default: valid(a.Default), Values: a.Values,
		})
	}
	for _, b := range s.Blocks {
		w.Blocks = append(w.Blocks, &pb.Block{
			Name: b.Name, Labels: b.Labels, Repeated: b.Repeated, Required: b.Required, Body: schemaToWire(b.Body),
			Doc: valid(b.Doc),
		})
	}
	return w
}

func schemaFromWire(w *pb.Schema) schema.Schema {
	s := schema.Schema{Doc: w.GetDoc()}
	for _, a := range w.GetAttributes() {
		s.Attributes = append(s.Attributes, schema.Attribute{
			Name: a.GetName(), Type: schema.Type(a.GetType()), Required: a.GetRequired(), Sensitive: a.GetSensitive(),
			Doc: a.GetDoc(), Default: a.GetDefault(), Values: a.GetValues(),
		})
	}
	for _, b := range w.GetBlocks() {
		s.Blocks = append(s.Blocks, schema.Block{
			Name: b.GetName(), Labels: b.GetLabels(), Repeated: b.GetRepeated(), Required: b.GetRequired(),
			Body: schemaFromWire(b.GetBody()), Doc: b.GetDoc(),
		})
	}
	return s
}

// Scalars. A zero time and a zero duration are absent on the wire; a time arrives in UTC with its nanoseconds.

func timeToWire(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromWire(t *timestamppb.Timestamp) time.Time {
	if t == nil || !isTime(t) {
		return time.Time{}
	}
	return t.AsTime()
}

// isTime says whether a time is one. Typing errors, such as the year 20225, are.
func isTime(t *timestamppb.Timestamp) bool {
	const most = 1 << 42 // seconds: 139,000 years
	return t.GetSeconds() >= -most && t.GetSeconds() <= most && t.GetNanos() >= 0 && t.GetNanos() < 1e9
}

func durationToWire(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// valid makes text UTF-8, the only one that the wire carries.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// cut is text that is short enough to be shown.
func cut(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return valid(s)
}

// configError turns what is wrong with a configuration into an error of the contract.
func configError(err error) error {
	var misfit *schema.Error
	var typed *Error
	switch {
	case err == nil || errors.As(err, &typed):
		return err
	case errors.As(err, &misfit):
		return Misconfigured(misfit.Path, "%s", misfit.Text)
	}
	return Misconfigured("", "is refused with %T (text withheld, it may quote values; return sdk.Misconfigured)", err)
}
