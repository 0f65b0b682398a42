// A service of one page; `--check` asks it once, over a real socket, and ends.
const http = require("http");
const polka = require("polka");

const app = polka().get("/", (request, response) => response.end("service ready\n"));
const check = process.argv.includes("--check");

app.listen(check ? 0 : process.env.PORT, "127.0.0.1", () => {
  if (!check) return;
  const { port } = app.server.address();
  http.get({ host: "127.0.0.1", port, agent: false }, (answer) => {
    answer.pipe(process.stdout);
    answer.on("end", () => app.server.close());
  });
});
