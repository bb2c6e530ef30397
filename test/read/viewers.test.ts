import './viewers.cases.js'
import './viewers-fastify.cases.js'
