# A build stage, and a small image with what it made.
ARG GO=1.26
FROM golang:$GO AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg go mod download
COPY . .
ARG VERSION=dev
RUN go build -ldflags "-X main.version=$VERSION" -o /out/app ./cmd/app

FROM scratch
COPY --from=build --chmod=0755 /out/app /app
EXPOSE 8080
USER 65532
ENTRYPOINT ["/app"]
