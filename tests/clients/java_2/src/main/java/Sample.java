import com.datastax.astra.client.DataAPIClient;
import com.datastax.astra.client.DataAPIDestination;
import com.datastax.astra.client.collections.Collection;
import com.datastax.astra.client.collections.commands.Update;
import com.datastax.astra.client.collections.commands.options.CollectionFindOptions;
import com.datastax.astra.client.collections.definition.CollectionDefinition;
import com.datastax.astra.client.collections.definition.documents.Document;
import com.datastax.astra.client.core.options.DataAPIClientOptions;
import com.datastax.astra.client.core.query.Filters;
import com.datastax.astra.client.core.query.Sort;
import com.datastax.astra.client.core.vector.SimilarityMetric;
import com.datastax.astra.client.databases.Database;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Vectorize with astra-db-java 2: a collection that embeds, texts inserted, texts found by meaning. */
public class Sample {
  public static void main(String[] arguments) throws Exception {
    Map<String, String> env = System.getenv();
    DataAPIClientOptions options =
        new DataAPIClientOptions().destination(DataAPIDestination.valueOf(env.get("ENVIRONMENT")));
    DataAPIClient client = new DataAPIClient(env.get("ORRERY_TOKEN"), options);
    Database database = client.getDatabase(env.get("ORRERY_URL"), "default_keyspace");

    Collection<Document> collection =
        database.createCollection(
            env.get("COLLECTION"),
            new CollectionDefinition()
                .vector(Integer.parseInt(env.get("DIMENSION")), SimilarityMetric.COSINE)
                .vectorize(env.get("PROVIDER"), env.get("MODEL"), env.get("KEY_NAME")));
    List<Document> documents = new ArrayList<>();
    for (Object item : new ObjectMapper().readValue(env.get("DOCUMENTS"), List.class)) {
      Map<?, ?> members = (Map<?, ?>) item;
      documents.add(
          new Document()
              .id(members.get("_id"))
              .vectorize((String) members.get("$vectorize"))
              .append("kind", members.get("kind")));
    }
    collection.insertOne(documents.get(0));
    collection.insertMany(documents.subList(1, documents.size()));

    List<Object> found = new ArrayList<>();
    List<Double> similarities = new ArrayList<>();
    CollectionFindOptions nearest =
        new CollectionFindOptions().sort(Sort.vectorize(env.get("QUERY"))).limit(3).includeSimilarity(true);
    for (Document document : collection.find(nearest).toList()) {
      found.add(document.getId(Object.class));
      similarities.add(document.getSimilarity().orElseThrow());
    }
    CollectionFindOptions first = new CollectionFindOptions().sort(Sort.vectorize(env.get("QUERY"))).limit(1);
    Document filtered = collection.find(Filters.eq("kind", "food"), first).toList().get(0);
    collection.updateOne(Filters.eq("_id", "cake"), new Update().set("$vectorize", env.get("NEW_TEXT")));
    Document updated =
        collection.find(new CollectionFindOptions().sort(Sort.vectorize(env.get("NEW_QUERY"))).limit(1)).toList().get(0);
    collection.deleteOne(Filters.eq("_id", "goal"));

    Map<String, Object> result = new LinkedHashMap<>();
    result.put("found", found);
    result.put("similarities", similarities);
    result.put("filtered", filtered.getId(Object.class));
    result.put("updated", updated.getId(Object.class));
    result.put("count", collection.countDocuments(100));
    database.dropCollection(env.get("COLLECTION"));
    System.out.println(new ObjectMapper().writeValueAsString(result));
    System.exit(0);
  }
}
