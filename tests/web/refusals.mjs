/** What the page says of answers that refuse, each a status and a body of a JSON file; prints them, as JSON. */

import fs from "node:fs";
import { createServer } from "node:http";
import { Api } from "../../web/client/api.js";

const answers = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const server = createServer((request, response) => {
  const [status, body] = answers[Number(new URL(request.url ?? "", "http://any").searchParams.get("number"))];
  response.writeHead(status).end(body);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
const api = new Api(new URL(`http://127.0.0.1:${server.address().port}/`), { unreachable: "gone" });
const said = [];
for (const number of answers.keys()) {
  try {
    await api.get("x", { number: String(number) });
  } catch (error) {
    said.push([error.constructor.name, error.message]);
  }
}
server.close();
console.log(JSON.stringify(said));
