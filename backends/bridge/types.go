package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"gateway/internal/zmtp"
)

// Types finds the descriptors of a service, by its full name.
type Types func(ctx context.Context, service string) (*protoregistry.Files, error)

// Descriptors are the Types of a serialized google.protobuf.FileDescriptorSet, as protoc --include_imports
// --descriptor_set_out writes it.
func Descriptors(set []byte) (Types, error) {
	var files descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &files); err != nil {
		return nil, fmt.Errorf("not a FileDescriptorSet: %w", err)
	}
	known, err := protodesc.NewFiles(&files)
	if err != nil {
		return nil, fmt.Errorf("descriptors: %w (was protoc run with --include_imports?)", err)
	}
	return func(context.Context, string) (*protoregistry.Files, error) { return known, nil }, nil
}

// typesWait bounds how long types are looked for.
const typesWait = 10 * time.Second

// filesMax bounds how many files a service's reflection may name.
const filesMax = 1000

// Reflection are the Types that a server tells of itself (grpc.reflection.v1). What it has told is kept; a failure is not.
func Reflection(calls *Calls) Types {
	turn := make(chan struct{}, 1) // holds a token while somebody asks, and guards known
	known := map[string]*protoregistry.Files{}
	return func(ctx context.Context, service string) (*protoregistry.Files, error) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		if files := known[service]; files != nil {
			return files, nil
		}
		files, err := describe(ctx, calls, service)
		if err != nil {
			return nil, fmt.Errorf("ask the backend for the types of %s by reflection (or name a file with descriptors): %w", service, err)
		}
		known[service] = files
		return files, nil
	}
}

// describe asks for the file of a service, and then for all that it imports.
func describe(ctx context.Context, calls *Calls, service string) (*protoregistry.Files, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := calls.NewStream(ctx, reflection.ServerReflection_ServerReflectionInfo_FullMethodName)
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	have, asked := map[string]bool{}, map[string]bool{}
	next := &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
	}
	for next != nil {
		files, err := ask(stream, next)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if !have[f.GetName()] {
				have[f.GetName()] = true
				set.File = append(set.File, f)
			}
		}
		next = missing(set, have, asked)
		if len(set.File) > filesMax {
			return nil, fmt.Errorf("more than %d files", filesMax)
		}
	}
	return protodesc.NewFiles(set)
}

// missing asks for a file that another imports.
func missing(set *descriptorpb.FileDescriptorSet, have, asked map[string]bool) *reflection.ServerReflectionRequest {
	for _, f := range set.File {
		for _, name := range f.GetDependency() {
			if !have[name] && !asked[name] {
				asked[name] = true
				return &reflection.ServerReflectionRequest{
					MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: name},
				}
			}
		}
	}
	return nil
}

func ask(stream *CallStream, request *reflection.ServerReflectionRequest) ([]*descriptorpb.FileDescriptorProto, error) {
	data, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	_ = stream.Send(data) // receiving tells what is wrong
	reply, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	var response reflection.ServerReflectionResponse
	if err := proto.Unmarshal(reply, &response); err != nil {
		return nil, err
	}
	if e := response.GetErrorResponse(); e != nil {
		return nil, errors.New(e.GetErrorMessage())
	}
	var files []*descriptorpb.FileDescriptorProto
	for _, raw := range response.GetFileDescriptorResponse().GetFileDescriptorProto() {
		f := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(raw, f); err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// codecPair is what translates a method's requests and replies.
type codecPair struct{ request, reply codec }

// replyTo appends to m the frames of a reply.
func (p *codecPair) replyTo(m *zmtp.Message, data []byte) error {
	if err := p.reply.toFrames(m, data); err != nil {
		return status.Errorf(codes.Internal, "the reply: %v", err)
	}
	return nil
}

// codecs finds the codecs of a method, once.
type codecs struct {
	payload Payload
	types   Types
	method  string
	ready   atomic.Pointer[codecPair]
}

// get looks for the types when they are needed first, and again after a failure.
func (c *codecs) get(ctx context.Context) (*codecPair, error) {
	if pair := c.ready.Load(); pair != nil {
		return pair, nil
	}
	pair := &codecPair{codec{payload: c.payload}, codec{payload: c.payload}}
	if c.payload == JSON {
		ctx, cancel := context.WithTimeout(ctx, typesWait)
		defer cancel()
		files, m, err := c.find(ctx)
		if err != nil {
			return nil, err
		}
		types := dynamicpb.NewTypes(files)
		pair.request.message, pair.request.types = m.Input(), types
		pair.reply.message, pair.reply.types = m.Output(), types
	}
	c.ready.Store(pair)
	return pair, nil
}

func (c *codecs) find(ctx context.Context) (*protoregistry.Files, protoreflect.MethodDescriptor, error) {
	service, name, ok := strings.Cut(strings.TrimPrefix(c.method, "/"), "/")
	if !ok {
		return nil, nil, fmt.Errorf("%q is no method", c.method)
	}
	if c.types == nil {
		return nil, nil, fmt.Errorf("the payload json needs descriptors of %s", service)
	}
	files, err := c.types(ctx, service)
	if err != nil {
		return nil, nil, err
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(service + "." + name))
	if err != nil {
		return nil, nil, fmt.Errorf("method %s: %w", c.method, err)
	}
	m, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, nil, fmt.Errorf("%s is no method", c.method)
	}
	return files, m, nil
}
